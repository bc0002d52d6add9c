"""Sites by name pattern, in every layout of features."""

import re

import pytest
import torch
from torch import nn

from tsn_tsm_plugin.layers import TemporalShift, temporal_shift
from tsn_tsm_plugin.models import StreamingTSM, create_tsm
from tsn_tsm_plugin.models.backbones.create import create_backbone
from tsn_tsm_plugin.models.backbones.shift_sites import match_sites
from tsn_tsm_plugin.models.backbones.site_features import SiteFeatures, probe_sites

VIT = "timm/vit_tiny_patch16_224"


def small(backbone, **options):
    torch.manual_seed(0)
    return create_tsm(
        **{"backbone": backbone, "num_classes": 5, "num_segments": 3, "fc_init_std": 1.0, **options}
    ).eval()


def shifts(model):
    return [module for module in model.modules() if isinstance(module, TemporalShift)]


@pytest.mark.parametrize("layout", ["tokens", "map"])
@pytest.mark.parametrize("causal", [False, True])
def test_channels_on_the_last_axis_are_shifted_as_those_on_the_first(layout, causal):
    x_NCHW = torch.randn(6, 16, 4, 5)
    x_NHWC = x_NCHW.permute(0, 2, 3, 1)
    expected = temporal_shift(x_NCHW, num_segments=3, causal=causal).permute(0, 2, 3, 1)
    x, expected = (x_NHWC.flatten(1, 2), expected.flatten(1, 2)) if layout == "tokens" else (x_NHWC, expected)

    assert torch.equal(temporal_shift(x, num_segments=3, causal=causal, channel_axis=-1), expected)


def test_patterns_match_parts_of_names_with_or_without_trunk():
    network = nn.ModuleDict({"trunk": nn.ModuleList([nn.ModuleDict({"mlp": nn.ReLU()}) for _ in range(11)])})

    assert match_sites(network, ["*.mlp"]) == [f"trunk.{index}.mlp" for index in range(11)]
    assert match_sites(network, ["trunk.[0-1].mlp", "10.mlp"]) == [f"trunk.{n}.mlp" for n in (0, 1, 10)]


@pytest.mark.parametrize(
    ("backbone", "sites", "axes", "num_sites"),
    [
        ("resnet18", ["layer1.*.conv1", "layer4.0"], {1}, 3),
        ("timm/swin_tiny_patch4_window7_224", ["layers.*.blocks.*.norm1"], {-1}, 12),
        ("timm/convnext_atto", ["stages.2.blocks.*.mlp"], {1}, 6),
        (VIT, ["blocks.*.mlp"], {-1}, 12),
        (VIT, ["blocks.[0-3].norm1"], {-1}, 4),
        ("torchvision/swin_t", ["features.*.*.norm2"], {-1}, 12),
        ("torchvision/convnext_tiny", ["features.[13].*.block.3"], {-1}, 6),
    ],
)
def test_a_dry_run_finds_the_layout_of_named_sites(backbone, sites, axes, num_sites):
    model = small(backbone, sites=sites)

    assert {shift.channel_axis for shift in shifts(model)} == axes
    assert len(model.shift_sites) == num_sites


def test_a_dry_run_leaves_the_network_as_it_is():
    backbone = create_backbone("resnet18").train()
    backbone.bn1.eval()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}

    features = probe_sites(backbone, ["layer2.0"])

    assert features == {"layer2.0": SiteFeatures(64, 1)}
    assert backbone.layer1.training and not backbone.bn1.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize("options", [{}, {"tokens": "class"}, {"causal": True}])
def test_a_vit_depends_on_the_order_of_frames(options):
    model = small(VIT, **options)
    video = torch.randn(1, 3, 3, 224, 224)

    with torch.no_grad():
        assert not torch.allclose(model(video), model(video.flip(2)), rtol=1e-3)


@pytest.mark.parametrize("tokens", ["all", "class"])
def test_a_causal_vit_runs_on_a_stream_and_trains(tokens):
    model = small(VIT, causal=True, tokens=tokens, num_segments=3)
    video = torch.randn(2, 3, 3, 224, 224)
    stream = StreamingTSM(model)

    with torch.no_grad():
        scores = torch.stack([stream(frame) for frame in video.unbind(2)])
        torch.testing.assert_close(scores.mean(0), model(video), rtol=1e-3, atol=1e-4)
    model.train()(video).sum().backward()

    num_tokens = 197 if tokens == "all" else 1
    assert set(stream.state_shapes(224, 224).values()) == {(num_tokens, 24)}
    assert {tuple(kept.shape) for kept in stream.state.values()} == {(2, num_tokens, 24)}
    stream.reset(torch.tensor([True, False]))
    assert all(not kept[0].any() and kept[1].any() for kept in stream.state.values())


def test_class_tokens_alone_leave_the_patches_where_they_are():
    shift = TemporalShift(num_segments=2, channel_axis=-1, num_tokens=1)
    x = torch.randn(4, 5, 16)

    shifted = shift(x)

    assert torch.equal(shifted[:, 1:], x[:, 1:])
    assert torch.equal(shifted[:, :1], temporal_shift(x[:, :1], num_segments=2, channel_axis=-1))


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        ("torchvision/squeezenet1_1", {}, "has no residual blocks that the temporal shift can name: use it"),
        ("resnet18", {"tokens": "class"}, "which has no class token, got 'class'"),
        (VIT, {"tokens": "some"}, "tokens must be 'all' or 'class', got 'some'"),
        (VIT, {"sites": ["blocks.*.mpl"]}, "got 'blocks.*.mpl', which matches none; it has "),
        (VIT, {"sites": ["blocks.0.attn.proj_drop", "norm_pre.*"]}, "'norm_pre.*', which matches none"),
        (
            "timm/swin_tiny_patch4_window7_224",
            {"sites": ["layers.0.blocks.0.attn"]},
            "The site 'trunk.layers.0.blocks.0.attn' cannot be shifted: it sees windows",
        ),
        ("mobilenet_v2", {"temporal_pool": True}, "only networks with stages named layer1 to layer4"),
    ],
)
def test_what_cannot_be_shifted_is_refused(backbone, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        small(backbone, **options)


def test_sites_that_see_windows_are_skipped_and_counted():
    model = small("timm/mobilevit_xxs")

    assert "temporal shift at 7 sites" in model.describe()
    assert "but not at 9 that see windows of a frame" in model.describe()
    assert all(".transformer." in site for site in model.unshifted_sites)


def test_frames_are_pooled_in_timms_resnets_too():
    model = small("timm/resnet18", temporal_pool=True, num_segments=4)
    videos = torch.randn(2, 3, 4, 32, 32)

    with torch.no_grad():
        apart = torch.cat([model(videos[:1]), model(videos[1:])])
        torch.testing.assert_close(model(videos), apart, rtol=1e-4, atol=1e-5)
    assert [shift.num_segments for shift in shifts(model)] == [4, 4, 2, 2, 2, 2, 2, 2]
