"""One update, held against a hand-written one in float64; also in parts and in low precision."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from support.golden import GoldenModel
from timm.optim.lars import Lars
from torch import nn

from tsn_tsm_plugin.engine.optimizer_step import OptimizerStep
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.models import create_tsm, load_weights
from tsn_tsm_plugin.solver import tsm_param_groups
from tsn_tsm_plugin.solver.losses import cross_entropy

LR, MOMENTUM, DECAY, MAX_NORM = 0.05, 0.9, 0.01, 0.3


class ToFloat64(nn.Module):
    def forward(self, video):
        return video.double() / 255 - 0.5


class Fold(nn.Module):
    def forward(self, video):
        return video[:, 0, 0].flatten(1)[:, :33].float() / 255


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_tsm(
        backbone="resnet18", num_classes=3, num_segments=2, dropout_rate=0.0, fc_init_std=0.1
    ).double()


def batch_of(num_clips: int, *, num_frames: int = 2) -> dict:
    generator = torch.Generator().manual_seed(1)
    video = torch.randint(0, 256, (num_clips, 3, num_frames, 32, 32), generator=generator, dtype=torch.uint8)
    return {"video": video, "label": torch.arange(num_clips) % 3}


def step_of(model, **options) -> OptimizerStep:
    groups = tsm_param_groups(model, weight_decay=DECAY)
    for group in groups:
        group["lr"] = LR * group["lr_mult"]
    optimizer = torch.optim.SGD(groups, momentum=MOMENTUM, fused=True)
    options = {"clip_grad_l2norm": MAX_NORM, "normalize": ToFloat64(), **options}
    return OptimizerStep(model, optimizer, device=torch.device("cpu"), **options)


def update_by_hand(model, batch, *, steps: int) -> tuple[float, float]:
    """SGD with momentum, the seven groups and clipping, from their formulas alone."""
    multiples = {}
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for module in model.modules():
        for name, p in module.named_parameters(recurse=False):
            if isinstance(module, nn.BatchNorm2d):
                multiples[p] = (1, 0)
            elif module is convs[-1]:
                multiples[p] = (5, 1) if name == "weight" else (10, 0)
            else:
                multiples[p] = (1, 1)
    velocity = {p: torch.zeros_like(p) for p in multiples}
    for _ in range(steps):
        logits = model(batch["video"].double() / 255 - 0.5)
        loss = -torch.log_softmax(logits, 1)[torch.arange(len(logits)), batch["label"]].mean()
        grads = dict(zip(multiples, torch.autograd.grad(loss, list(multiples)), strict=True))
        norm = math.sqrt(sum(float((g**2).sum()) for g in grads.values()))
        scale = min(1.0, MAX_NORM / (norm + 1e-6))
        with torch.no_grad():
            for p, (lr_mult, decay_mult) in multiples.items():
                velocity[p] = MOMENTUM * velocity[p] + scale * grads[p] + DECAY * decay_mult * p
                p -= LR * lr_mult * velocity[p]
    return loss.item(), norm


def test_two_steps_equal_the_formulas_to_1e_6(model):
    by_hand = copy.deepcopy(model).train()
    batch = batch_of(4)
    step = step_of(model.train())
    results = [step(batch, num_clips=4) for _ in range(2)]
    loss, norm = update_by_hand(by_hand, batch, steps=2)

    assert results[-1].loss.item() / 4 == pytest.approx(loss, rel=1e-9)
    assert results[-1].grad_norm.item() == pytest.approx(norm, rel=1e-9)
    assert norm > MAX_NORM  # so that clipping is seen
    for (name, mine), theirs in zip(model.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12, msg=name)


def test_a_step_from_the_golden_weights_equals_the_formulas_to_1e_6():
    model = create_tsm(backbone="resnet50", num_segments=8, dropout_rate=0.0)
    load_weights(model, GoldenModel.read("models/tsm_r50_8f").state_dict())
    model = model.double().train()
    by_hand = copy.deepcopy(model)
    batch = batch_of(2, num_frames=8)
    result = step_of(model)(batch, num_clips=2)
    loss, norm = update_by_hand(by_hand, batch, steps=1)

    assert result.loss.item() / 2 == pytest.approx(loss, rel=1e-6)
    assert result.grad_norm.item() == pytest.approx(norm, rel=1e-6)
    for (name, mine), theirs in zip(model.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-9, msg=name)


@pytest.mark.parametrize(("num_clips", "at_once"), [(4, 2), (5, 2), (3, 1)])
def test_accumulated_parts_give_the_update_of_the_whole_batch(model, num_clips, at_once):
    whole, parts = copy.deepcopy(model).eval(), copy.deepcopy(model).eval()  # batch norm sees no batch
    one = step_of(whole)(batch_of(num_clips), num_clips=num_clips)
    other = step_of(parts, max_clips_per_forward=at_once)(batch_of(num_clips), num_clips=num_clips)

    assert other.loss.item() == pytest.approx(one.loss.item(), rel=1e-12)
    assert other.num_correct == one.num_correct
    for mine, theirs in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


class Broken(nn.Module):
    """Gives what is no number while it is switched on."""

    is_on = True

    def forward(self, video):
        return video.double() / 255 - 0.5 + (float("nan") if self.is_on else 0.0)


def test_a_step_that_is_not_finite_leaves_no_trace(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = step_of(model.train(), normalize=Broken())(batch_of(2), num_clips=2)

    assert not result.is_applied
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, Lars])
def test_a_run_whose_first_and_later_steps_are_skipped_equals_one_without_them(model, kind):
    """Momentum and counters of a fused optimiser must not see a step that it skips, the first included."""
    options = {"lr": LR} | ({} if kind is torch.optim.AdamW else {"momentum": MOMENTUM})
    options |= {} if kind is Lars else {"fused": True}
    skipping, plain = copy.deepcopy(model).train(), copy.deepcopy(model).train()
    normalize = Broken()
    step, other = (
        OptimizerStep(m, kind(m.parameters(), **options), normalize=n, device=torch.device("cpu"))
        for m, n in ((skipping, normalize), (plain, ToFloat64()))
    )
    for normalize.is_on in (True, False, True, True, False):
        result = step(batch_of(4), num_clips=4)
        assert result.is_applied.item() != normalize.is_on
        if not normalize.is_on:
            other(batch_of(4), num_clips=4)

    for name, tensor in plain.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(skipping.state_dict()[name], tensor), name


@pytest.mark.parametrize("nesterov", [False, True])
def test_fused_steps_equal_steps_of_the_plain_optimiser(nesterov):
    """Bit by bit, so that a run ends with the weights of one without the fused optimiser."""
    ends = []
    for fused in (False, True):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(64, 33))
        optimizer = torch.optim.SGD(
            [weight], lr=LR, momentum=MOMENTUM, weight_decay=DECAY, nesterov=nesterov, fused=fused
        )
        linear = nn.Sequential(nn.Flatten(), nn.Linear(1, 1))
        linear[1].weight, linear[1].bias = weight, None
        step = OptimizerStep(linear, optimizer, normalize=Fold(), device=torch.device("cpu"))
        for _ in range(3):
            step({"video": batch_of(4)["video"], "label": torch.arange(4)}, num_clips=4)
        ends.append(weight.detach())
    assert torch.equal(*ends)


def test_bf16_computes_in_bf16_and_keeps_weights_in_float32(model):
    class ToFloat32(nn.Module):
        def forward(self, video):
            return video.float() / 255

    seen = []
    model = model.float().train()
    model.head.fc.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    result = step_of(model, normalize=ToFloat32(), mixed_precision="bf16")(batch_of(2), num_clips=2)

    assert seen == [torch.bfloat16]
    assert result.is_applied
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_label_smoothing_equals_the_references(model):
    """(1 - e) y + e / C, reference/mmaction.md 2.13."""
    batch = batch_of(3)
    logits = model.eval()(ToFloat64()(batch["video"])).detach()
    target = 0.9 * F.one_hot(batch["label"], 3) + 0.1 / 3
    expected = -(target * torch.log_softmax(logits, 1)).sum()
    result = step_of(model, loss=cross_entropy(label_smoothing=0.1))(batch, num_clips=3)

    assert result.loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_loss_that_is_no_number_for_each_clip_is_refused(model):
    with pytest.raises(ConfigError, match=r"must give one number for each of 3 clips, got shape \(\)"):
        step_of(model, loss=F.cross_entropy, normalize=ToFloat64())(batch_of(3), num_clips=3)
