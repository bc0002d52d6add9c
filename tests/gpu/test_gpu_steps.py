"""Updates of the weights on a device, in each precision, compared with a CPU in float64."""

import copy

import pytest
import support.runs  # noqa: F401  # It registers the backbone "tiny".
import torch
from support.tf32 import without_tf32
from torch import nn

from tsn_tsm_plugin.engine.optimizer_step import OptimizerStep
from tsn_tsm_plugin.models import create_tsm
from tsn_tsm_plugin.transforms.normalize import Normalize

CPU = torch.device("cpu")
NUM_CLIPS = 4


def created(backbone: str) -> nn.Module:
    torch.manual_seed(0)
    options = {"num_classes": 3, "num_segments": 2, "dropout_rate": 0.0, "fc_init_std": 0.1}
    return create_tsm(backbone=backbone, **options).train()


def step_of(
    model: nn.Module, device: torch.device, *, precision: str = "off", factor: float = 2.0**10
) -> OptimizerStep:
    model.to(device)
    step = OptimizerStep(
        model,
        torch.optim.SGD(model.parameters(), lr=0.01, fused=True),
        normalize=Normalize([128.0] * 3, [64.0] * 3).to(device, next(model.parameters()).dtype),
        device=device,
        mixed_precision=precision,
    )
    step.scaler = torch.amp.GradScaler(device.type, factor, enabled=precision == "fp16")
    return step


def batch() -> dict:
    generator = torch.Generator().manual_seed(1)
    video = torch.randint(0, 256, (NUM_CLIPS, 3, 2, 64, 64), generator=generator, dtype=torch.uint8)
    return {"video": video, "label": torch.arange(NUM_CLIPS) % 3}


def change(model: nn.Module, before: nn.Module) -> torch.Tensor:
    pairs = zip(model.parameters(), before.parameters(), strict=True)
    return torch.cat([(p.detach().cpu().double() - q.detach().double()).flatten() for p, q in pairs])


@pytest.mark.parametrize(
    ("precision", "of_the_loss", "of_the_change"),
    # A feature that rounding brings to the other side of zero changes all gradients behind it.
    [("off", 1e-4, 0.02), ("fp16", 0.01, 0.3), ("bf16", 0.1, 0.6)],
)
def test_a_step_changes_the_weights_as_a_cpu_does_in_float64(device, precision, of_the_loss, of_the_change):
    before = created("resnet18")
    model, exact = copy.deepcopy(before), copy.deepcopy(before).double()
    with without_tf32():
        result = step_of(model, device, precision=precision)(batch(), num_clips=NUM_CLIPS)
    expected = step_of(exact, CPU)(batch(), num_clips=NUM_CLIPS)

    assert result.is_applied
    assert {(p.dtype, p.device.type) for p in model.parameters()} == {(torch.float32, device.type)}
    assert result.loss.item() == pytest.approx(expected.loss.item(), rel=of_the_loss)
    wanted = change(exact, before)
    assert (change(model, before) - wanted).norm() < of_the_change * wanted.norm()


def test_a_step_that_overflows_in_fp16_halves_the_factor_and_leaves_no_other_trace(device):
    model = created("tiny")
    step = step_of(model, device, precision="fp16", factor=2.0**40)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    assert not step(batch(), num_clips=NUM_CLIPS).is_applied
    assert step.scaler.get_scale() == 2.0**39
    for name, value in model.state_dict().items():
        assert not value.is_floating_point() or torch.equal(value, before[name]), name

    while not step(batch(), num_clips=NUM_CLIPS).is_applied:
        assert step.scaler.get_scale() >= 1.0
    assert not torch.equal(model.head.fc.weight, before["head.fc.weight"])
