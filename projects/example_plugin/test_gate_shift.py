"""Tests of the contract of temporal modules in tsn_tsm_plugin; run them after `pip install .`."""

import pytest
import torch
from gate_shift import GateShift

from tsn_tsm_plugin import build_model, create_tsm, get_cfg
from tsn_tsm_plugin.registry import TEMPORAL_MODULES


@pytest.fixture
def open_gates():
    """A module with fully open gates: tanh(10) is 1."""
    module = GateShift(4, num_segments=3).eval()
    torch.nn.init.constant_(module.gate.bias, 10.0)
    return module


def test_the_entry_point_is_found():
    assert TEMPORAL_MODULES.get("gate_shift") is GateShift


def test_a_fresh_module_is_the_identity():
    clips = torch.rand(2, 6, 4, 5, 5)

    assert torch.equal(GateShift(6, num_segments=4)(clips), clips)


def test_open_gates_move_one_half_on_and_the_other_back(open_gates):
    frames = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 3, 1, 1).expand(1, 4, 3, 2, 2)

    moved = open_gates(frames)[0, :, :, 0, 0]

    torch.testing.assert_close(moved, torch.tensor([[0.0, 1, 2], [0, 1, 2], [2, 3, 0], [2, 3, 0]]))


def test_an_odd_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="dim must be even and kernel_size odd, got 5 and 3"):
        GateShift(5, num_segments=8)


def test_a_recipe_puts_it_at_the_sites_that_the_backbone_declares():
    cfg = get_cfg()
    cfg.MODEL.update(BACKBONE="pocketnet", NUM_CLASSES=2)
    cfg.MODEL.TEMPORAL_MODULES = [{"NAME": "gate_shift", "OPTIONS": {"kernel_size": 5}}]

    model = build_model(cfg)

    assert "no temporal shift, gate_shift at 3 sites" in model.describe()
    assert {m.gate.kernel_size for m in model.modules() if isinstance(m, GateShift)} == {(5, 5, 5)}


def test_it_goes_with_the_temporal_shift_at_sites_of_its_own():
    model = create_tsm(
        backbone="resnet18",
        num_classes=2,
        num_segments=4,
        temporal_modules=["temporal_shift", {"name": "gate_shift", "sites": ["layer4.*.conv2"]}],
    )

    assert "temporal shift at 8 sites" in model.describe()
    assert model.other_sites == {"gate_shift": ["layer4.0.conv2", "layer4.1.conv2"]}


def test_trained_gates_depend_on_the_order_of_frames():
    model = create_tsm(
        backbone="pocketnet", num_classes=2, num_segments=4, fc_init_std=1.0, temporal_modules=["gate_shift"]
    ).eval()
    video = torch.rand(1, 3, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(video), model(video.flip(2)), atol=1e-5, rtol=1e-4)
        for module in model.modules():
            if isinstance(module, GateShift):
                torch.nn.init.normal_(module.gate.weight)

        assert not torch.allclose(model(video), model(video.flip(2)), atol=1e-3)
