"""A temporal module of another package at the sites of a backbone."""

import re

import pytest
import torch
from torch import nn

from tsn_tsm_plugin.errors import ConfigError, UnknownComponentError
from tsn_tsm_plugin.layers import TemporalShift
from tsn_tsm_plugin.models import StreamingTSM, create_tsm
from tsn_tsm_plugin.registry import TEMPORAL_MODULES


class Reverse(nn.Module):
    """Turns clips around in time, and keeps what it was given."""

    def __init__(self, dim: int, *, num_segments: int, gain: float = 1.0) -> None:
        super().__init__()
        self.dim, self.num_segments, self.gain = dim, num_segments, gain
        self.shapes: list[torch.Size] = []

    def forward(self, x_BCTHW):
        self.shapes.append(x_BCTHW.shape)
        return self.gain * x_BCTHW.flip(2)


class ReverseBehind(Reverse):
    """As Reverse, for the output of its site."""

    position = "after"


class Halve(nn.Module):
    """Breaks the contract: it drops half of the frames."""

    def __init__(self, dim: int, *, num_segments: int) -> None:
        super().__init__()

    def forward(self, x_BCTHW):
        return x_BCTHW[:, :, ::2]


@pytest.fixture(autouse=True)
def registered():
    modules = {"reverse": Reverse, "reverse_behind": ReverseBehind, "halve": Halve}
    for name, module in modules.items():
        TEMPORAL_MODULES.register(name)(module)
    yield
    for name in modules:
        TEMPORAL_MODULES.unregister(name)


def small(*modules, backbone="resnet18", **options):
    torch.manual_seed(0)
    return create_tsm(
        backbone=backbone,
        num_classes=5,
        num_segments=4,
        fc_init_std=1.0,
        temporal_modules=modules,
        **options,
    ).eval()


def created(model, cls=Reverse):
    return [module for module in model.modules() if isinstance(module, cls)]


def test_a_module_is_created_for_each_declared_site_with_its_channels_and_options():
    model = small({"name": "reverse", "options": {"gain": 0.5}})

    assert [(m.dim, m.num_segments, m.gain) for m in created(model)] == [
        (dim, 4, 0.5) for dim in (64, 64, 64, 128, 128, 256, 256, 512)
    ]
    assert model.shift_sites == []
    assert model.describe().endswith("no temporal shift, reverse at 8 sites")


def test_a_module_sees_clips_of_the_features_of_its_site():
    model = small({"name": "reverse", "sites": ["layer2.0.conv2"]})
    plain = small()
    frames: list[torch.Tensor] = []
    site = model.backbone.get_submodule("layer2.0.conv2")
    site.register_forward_pre_hook(lambda _, inputs: frames.append(inputs[0]))
    site.net.register_forward_pre_hook(lambda _, inputs: frames.append(inputs[0]))

    with torch.no_grad():
        model(torch.randn(2, 3, 4, 32, 32))

    assert created(model)[0].shapes == [(2, 128, 4, 4, 4)]
    assert torch.equal(frames[1].unflatten(0, (2, 4)), frames[0].unflatten(0, (2, 4)).flip(1))
    assert set(model.state_dict()) > {"backbone.layer2.0.conv2.net.weight"}
    assert "backbone.layer2.0.conv2.weight" in plain.state_dict()


def test_sites_of_a_network_on_optical_flow_are_found():
    model = small("reverse", in_channels=10)

    model(torch.randn(1, 10, 4, 32, 32))

    assert created(model)[0].shapes == [(1, 64, 4, 8, 8)]


def test_a_module_behind_its_site_sees_the_output():
    model = small({"name": "reverse_behind", "sites": ["layer3.0"]})

    model(torch.randn(1, 3, 4, 32, 32))

    assert created(model)[0].shapes == [(1, 256, 4, 2, 2)]


def test_several_modules_share_sites_and_the_later_one_is_outside():
    model = small("temporal_shift", "reverse")

    site = model.backbone.get_submodule("layer1.0.conv1")

    assert isinstance(site.net, TemporalShift)
    assert len(model.shift_sites) == len(model.other_sites["reverse"]) == 8
    assert model(torch.randn(1, 3, 4, 32, 32)).shape == (1, 5)


def test_the_preset_takes_options_of_its_own_before_the_keywords():
    model = small({"name": "temporal_shift", "options": {"causal": True}}, shift_div=4)

    shifts = created(model, TemporalShift)

    assert {(shift.shift_div, shift.causal) for shift in shifts} == {(4, True)}
    assert (model.shift_div, model.causal) == (4, True)


def test_non_local_is_a_preset_at_sites_of_its_own():
    by_name = small("temporal_shift", {"name": "non_local", "options": {"kind": "gaussian"}})
    by_keyword = small(non_local="gaussian")

    assert by_name.describe() == by_keyword.describe()
    assert list(by_name.state_dict()) == list(by_keyword.state_dict())


def test_tokens_come_as_rows_of_one_pixel():
    model = small("reverse", backbone="timm/vit_tiny_patch16_224")

    with torch.no_grad():
        model(torch.randn(1, 3, 4, 224, 224))

    assert {shape for module in created(model) for shape in module.shapes} == {(1, 192, 4, 197, 1)}


def test_a_temporal_module_learns():
    model = small("temporal_shift", "reverse").train()

    model(torch.randn(2, 3, 4, 32, 32)).sum().backward()

    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_stream_refuses_modules_that_see_whole_clips():
    model = small("temporal_shift", "reverse", causal=True)

    with pytest.raises(ValueError, match="A stream needs modules that see one frame at a time"):
        StreamingTSM(model)


@pytest.mark.parametrize(
    ("modules", "error", "message"),
    [
        (["gate_shft"], UnknownComponentError, "temporal_module 'gate_shft' is not registered"),
        (
            [{"name": "reverse", "options": {"gian": 2}}],
            ConfigError,
            "temporal_module 'reverse' takes (dim: int, *, num_segments: int, gain: float = 1.0)",
        ),
        ([{"name": "reverse", "site": []}], ValueError, "must hold names, or mappings with the keys name"),
        (["reverse", "reverse"], ValueError, "temporal_modules must name 'reverse' once"),
        (
            [{"name": "reverse", "sites": ["layer9.*"]}],
            ValueError,
            "sites must name submodules of ResNetBackbone, got 'layer9.*', which matches none",
        ),
        ([{"name": "reverse", "sites": ["layer1"]}, "halve"], None, ""),
    ],
)
def test_what_does_not_fit_is_refused(modules, error, message):
    if error is None:
        with pytest.raises(ValueError, match="temporal_module 'halve' must keep the shape of its input"):
            small(*modules)(torch.randn(1, 3, 4, 32, 32))
        return
    with pytest.raises(error, match=re.escape(message)):
        small(*modules)
