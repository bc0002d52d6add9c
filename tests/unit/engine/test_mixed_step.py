"""An update from a mixed batch: its loss, its parts, and the random numbers that a resumed run repeats."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tsn_tsm_plugin.engine.optimizer_step import OptimizerStep
from tsn_tsm_plugin.engine.random_state import random_state, set_random_state
from tsn_tsm_plugin.transforms import Normalize, RandomMix

NUM_CLASSES = 5


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(24, NUM_CLASSES))


def batch_of(num_clips: int) -> dict:
    video = torch.randint(256, (num_clips, 3, 2, 8, 8), dtype=torch.uint8)
    return {"video": video, "label": torch.arange(num_clips) % NUM_CLASSES}


def step_of(model: nn.Module, **options) -> OptimizerStep:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    normalize = Normalize([128.0] * 3, [64.0] * 3)
    return OptimizerStep(model, optimizer, normalize=normalize, device=torch.device("cpu"), **options)


def test_the_loss_compares_the_mixed_clips_with_the_mixed_labels(model):
    batch, mix = batch_of(6), RandomMix(num_classes=NUM_CLASSES)
    torch.manual_seed(3)
    video, shares = mix(Normalize([128.0] * 3, [64.0] * 3)(batch["video"]), batch["label"])
    logits = model(video)
    expected = F.cross_entropy(logits, shares, reduction="sum").item()
    right = (logits.argmax(1) == shares.argmax(1)).sum()

    torch.manual_seed(3)
    result = step_of(model, batch_transform=mix)(batch, num_clips=6)
    assert result.loss.item() == pytest.approx(expected, rel=1e-5)
    assert result.num_correct == right


def test_parts_of_a_mixed_batch_give_the_update_of_the_whole(model):
    batch, updated = batch_of(6), []
    for max_clips in (0, 2):
        copied = copy.deepcopy(model)
        torch.manual_seed(3)
        step_of(copied, batch_transform=RandomMix(num_classes=NUM_CLASSES), max_clips_per_forward=max_clips)(
            batch, num_clips=6
        )
        updated.append(copied[2].weight)
    torch.testing.assert_close(*updated)
    assert not torch.equal(updated[0], model[2].weight)


def test_a_restored_random_state_repeats_the_mixing(model):
    batch = batch_of(6)
    step = step_of(model, batch_transform=RandomMix(num_classes=NUM_CLASSES, per_sample=True))
    step(batch, num_clips=6)
    weights, state = copy.deepcopy(model.state_dict()), random_state()
    first = step(batch, num_clips=6).loss
    model.load_state_dict(weights)
    set_random_state(state)
    assert torch.equal(step(batch, num_clips=6).loss, first)
