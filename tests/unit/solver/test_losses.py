"""Losses with weights of classes, and the focal losses, against their formulas."""

import pytest
import torch
import torch.nn.functional as F
from support.runs import tiny_cfg, write_dataset

from tsn_tsm_plugin.config import get_cfg
from tsn_tsm_plugin.config.check import validate
from tsn_tsm_plugin.data.build import class_counts
from tsn_tsm_plugin.engine.setup import build_training
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.registry import LOSSES
from tsn_tsm_plugin.solver import build_loss
from tsn_tsm_plugin.solver.losses import (
    balanced_weights,
    binary_cross_entropy,
    binary_focal,
    cross_entropy,
    focal,
)


@pytest.fixture
def logits():
    return torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3]])


def test_focal_loss_weighs_by_the_missing_probability(logits):
    label = torch.tensor([0, 2])
    probability = logits.softmax(1)[torch.arange(2), label]
    expected = -((1 - probability) ** 2) * probability.log()

    torch.testing.assert_close(focal(num_classes=3)(logits, label), expected)
    torch.testing.assert_close(focal(num_classes=3)(logits, F.one_hot(label, 3).float()), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_without_gamma_the_focal_losses_are_the_cross_entropies(logits, smoothing):
    label, several = torch.tensor([0, 2]), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    weights = {"class_weights": [0.5, 1.0, 2.0]}

    of_one = focal(num_classes=3, gamma=0.0, label_smoothing=smoothing, **weights)(logits, label)
    expected = cross_entropy(num_classes=3, label_smoothing=smoothing, **weights)(logits, label)
    torch.testing.assert_close(of_one, expected)
    of_several = binary_focal(num_classes=3, gamma=0.0, **weights)(logits, several)
    torch.testing.assert_close(of_several, binary_cross_entropy(num_classes=3, **weights)(logits, several))


def test_binary_focal_loss_asks_each_class_on_its_own(logits):
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    right = torch.where(target == 1, logits.sigmoid(), 1 - logits.sigmoid())
    expected = (-((1 - right) ** 2) * right.log()).mean(1)

    torch.testing.assert_close(binary_focal(num_classes=3)(logits, target), expected)


def test_a_class_weight_multiplies_the_loss_of_its_clips(logits):
    label = torch.tensor([0, 2])
    plain = cross_entropy()(logits, label)
    weighted = cross_entropy(num_classes=3, class_weights=[3.0, 1.0, 0.5])(logits, label)

    torch.testing.assert_close(weighted, plain * torch.tensor([3.0, 0.5]))


def test_balanced_weights_give_every_class_the_same_sum():
    weights = balanced_weights([6, 2, 0])

    assert [weight * count for weight, count in zip(weights, [6, 2, 0], strict=True)] == [4.0, 4.0, 0.0]


@pytest.mark.parametrize(
    ("name", "options", "fault"),
    [
        ("cross_entropy", {"class_weights": [1.0]}, "class_weights must be 3 numbers, got 1"),
        ("focal", {"class_weights": [1.0, -1.0, 1.0]}, "class_weights must be at least 0 and finite"),
        ("binary_focal", {"gamma": -1.0}, "gamma must be at least 0 and finite, got -1.0"),
    ],
)
def test_an_option_that_cannot_be_is_named_with_its_key(name, options, fault):
    with pytest.raises(ConfigError, match=f"MODEL.LOSS_OPTIONS of loss '{name}': {fault}"):
        LOSSES.create(name, options=options, key="MODEL.LOSS_OPTIONS", num_classes=3)


def test_a_recipe_weighs_classes_by_its_training_list(tmp_path, monkeypatch):
    data = write_dataset(tmp_path / "data", num_train=10, num_val=1)  # 4, 3 and 3 videos of the classes
    cfg = tiny_cfg(tmp_path, data=data, SOLVER__CLASS_WEIGHTS="balanced", TRAIN__EVAL_PERIOD=0)
    built = []

    def noted(*args, **counts):
        built.append(build_loss(*args, **counts))
        return built[-1]

    monkeypatch.setattr("tsn_tsm_plugin.engine.setup.build_loss", noted)
    setup = build_training(cfg)

    assert class_counts(setup.loader.dataset.entries, num_classes=3) == [4, 3, 3]
    losses = built[0].cpu()(torch.zeros(3, 3), torch.arange(3))
    assert (losses / losses[1]).tolist() == pytest.approx([0.75, 1.0, 1.0])


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("MODEL.LOSS_FUNC", {"LOSS_FUNC": "focal", "MULTI_LABEL": True}),
        ("MODEL.LOSS_FUNC", {"LOSS_FUNC": "binary_focal"}),
        ("SOLVER.CLASS_WEIGHTS", {"LOSS_OPTIONS": {"class_weights": [1.0]}}),
    ],
)
def test_losses_that_do_not_fit_the_labels_are_refused(key, values):
    cfg = get_cfg()
    for name, value in values.items():
        cfg["DATA" if name == "MULTI_LABEL" else "MODEL"][name] = value
    cfg.SOLVER.CLASS_WEIGHTS = "balanced" if "LOSS_OPTIONS" in values else ""

    assert key in [name for name, _ in validate(cfg)]
