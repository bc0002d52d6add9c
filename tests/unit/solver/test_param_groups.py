"""The parameter groups of TSM and TSN, held against reference/mmaction.md 2.11 by hand."""

import pytest
import timm
import torch
from torch import nn

from tsn_tsm_plugin.config import get_cfg
from tsn_tsm_plugin.solver import build_optimizer, format_param_groups, tsm_param_groups, tsn_param_groups


def tiny_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 1, bias=False),
        nn.Conv3d(4, 4, 1),
        nn.GroupNorm(2, 4),
        nn.Linear(4, 5),
        nn.Linear(5, 6),
    )


def test_the_seven_groups_hold_the_members_and_factors_of_the_references():
    net = tiny_network()
    groups = tsm_param_groups(net, weight_decay=0.01)

    assert [(g["lr_mult"], g["decay_mult"]) for g in groups] == [
        (1, 1), (2, 0), (1, 1), (2, 0), (1, 0), (5, 1), (10, 0),
    ]  # fmt: skip
    expected = [
        [net[0].weight],
        [net[0].bias],
        [net[2].weight, net[3].weight, net[5].weight],
        [net[3].bias, net[5].bias],
        [net[1].weight, net[1].bias, net[4].weight, net[4].bias],
        [net[6].weight],
        [net[6].bias],
    ]
    assert [[id(p) for p in g["params"]] for g in groups] == [[id(p) for p in group] for group in expected]
    assert [g["weight_decay"] for g in groups] == [0.01, 0, 0.01, 0, 0, 0.01, 0]


@pytest.mark.parametrize("mult", [1.0, 3.0])
def test_the_classifier_learns_as_many_times_as_fast_as_is_asked_for(mult):
    groups = {
        g["name"]: g for g in tsm_param_groups(tiny_network(), weight_decay=0.0, classifier_lr_mult=mult)
    }

    for role in ("weight", "bias"):
        assert groups[f"classifier_{role}"]["lr_mult"] == mult * groups[f"normal_{role}"]["lr_mult"]


def test_frozen_parameters_are_in_no_group():
    net = tiny_network()
    net[0].requires_grad_(False)
    groups = tsm_param_groups(net, weight_decay=0.0)

    assert groups[0]["params"] == groups[1]["params"] == []
    assert not any(p is net[2].weight for p in groups[0]["params"])  # the second is not promoted to the first
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(
        p.numel() for p in net.parameters() if p.requires_grad
    )


class Unknown(nn.Module):
    """Parameters that no reference has: a gain, a token and a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3))
        self.token = nn.Parameter(torch.ones(1, 1, 3))
        self.matrix = nn.Parameter(torch.ones(3, 3))

    def no_weight_decay(self):
        return {"token"}


def test_what_the_references_do_not_know_decays_if_it_is_a_matrix():
    unknown = Unknown()
    net = nn.Sequential(nn.PReLU(), unknown, nn.Linear(3, 2))
    groups = {group["name"]: group["params"] for group in tsm_param_groups(net, weight_decay=0.1)}

    assert [id(p) for p in groups["norm"]] == [id(p) for p in (net[0].weight, unknown.gain, unknown.token)]
    assert [id(p) for p in groups["normal_weight"]] == [id(unknown.matrix)]


@pytest.mark.parametrize("name", ["nf_regnet_b0", "vit_tiny_patch16_224", "lambda_resnet26t", "prelu"])
def test_every_trainable_parameter_is_in_one_group(name):
    with torch.device("meta"):
        net = nn.Sequential(nn.PReLU(), nn.PReLU()) if name == "prelu" else timm.create_model(name)
    grouped = [id(p) for group in tsm_param_groups(net, weight_decay=0.1) for p in group["params"]]

    assert sorted(grouped) == sorted(id(p) for p in net.parameters())


def test_tsn_has_one_group_in_which_norms_and_biases_decay():
    net = tiny_network()
    (group,) = tsn_param_groups(net, weight_decay=0.5)

    assert len(group["params"]) == len(list(net.parameters()))
    assert (group["lr_mult"], group["weight_decay"]) == (1.0, 0.5)


def test_the_table_shows_each_group_with_its_factors():
    table = format_param_groups(tsm_param_groups(tiny_network(), weight_decay=0.1)).splitlines()

    assert table[0].split() == ["group", "tensors", "parameters", "lr", "x", "wd", "x"]
    assert table[6].split() == ["classifier_weight", "1", "30", "5", "1"]


@pytest.mark.parametrize(
    ("method", "kind"),
    [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW), ("lars", torch.optim.Optimizer)],
)
def test_every_method_gets_the_groups_with_their_learning_rates(method, kind):
    cfg = get_cfg()
    cfg.SOLVER.OPTIMIZING_METHOD = method
    optimizer = build_optimizer(cfg, tiny_network())

    assert isinstance(optimizer, kind)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx(
        [0.01 * mult for mult in (1, 2, 1, 2, 1, 5, 10)]
    )


def test_the_learning_rate_scales_linearly_with_the_batch_if_asked():
    cfg = get_cfg()
    cfg.TRAIN.BATCH_SIZE, cfg.SOLVER.BASE_BATCH_SIZE, cfg.SOLVER.AUTO_SCALE_LR = 256, 64, True

    assert build_optimizer(cfg, tiny_network()).param_groups[0]["lr"] == pytest.approx(0.04)
