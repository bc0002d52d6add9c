"""Temporal modules, sites and options of backbones by the keys of a recipe."""

import re

import pytest
import torch

from tsn_tsm_plugin import optimize_for_inference
from tsn_tsm_plugin.config import load_cfg
from tsn_tsm_plugin.errors import ConfigError, UnknownComponentError
from tsn_tsm_plugin.layers import NonLocal, TemporalShift
from tsn_tsm_plugin.models import build_model


def cfg_of(tmp_path, text):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    return load_cfg(recipe, ["DATA.NUM_FRAMES", "2"])


def built(tmp_path, text):
    return build_model(cfg_of(tmp_path, text)).eval()


def test_a_recipe_combines_modules_at_their_own_sites(tmp_path):
    model = built(
        tmp_path,
        """
MODEL:
  BACKBONE: resnet18
  TEMPORAL_MODULES:
  - temporal_shift
  - NAME: non_local
    SITES: ["layer3.*"]
    OPTIONS: {kind: gaussian}
TSM: {SHIFT_DIV: 4, SITES: ["layer[12].*.conv1"]}
NONLOCAL: {ACT_CHECKPOINT: true}
""",
    )

    assert {m.shift_div for m in model.modules() if isinstance(m, TemporalShift)} == {4}
    assert len(model.shift_sites) == 4
    assert model.non_local_sites == ["layer3.0", "layer3.1"]
    assert {m.kind for m in model.modules() if isinstance(m, NonLocal)} == {"gaussian"}


@pytest.mark.parametrize("crop", [64, 96])
def test_a_vit_is_built_for_the_frames_of_the_recipe(tmp_path, crop):
    model = built(
        tmp_path,
        f"""
MODEL: {{BACKBONE: timm/vit_tiny_patch16_224, BACKBONE_OPTIONS: {{drop_path_rate: 0.2, depth: 2}}}}
TSM: {{SITES: ["blocks.*.norm2"], TOKENS: class}}
DATA: {{TRAIN_CROP_SIZE: {crop}, TEST_CROP_SIZE: {crop}}}
""",
    )

    assert model(torch.randn(1, 3, 2, crop, crop)).shape == (1, 400)
    assert len(model.shift_sites) == 2
    assert model.backbone.trunk.blocks[1].drop_path1.drop_prob == pytest.approx(0.2)


def test_a_vit_of_torchvision_is_built_for_the_frames_of_the_recipe(tmp_path):
    recipe = "MODEL: {BACKBONE: torchvision/vit_b_32}\nTSM: {TOKENS: class}\n"
    with torch.device("meta"):
        model = built(tmp_path, f"{recipe}DATA: {{TRAIN_CROP_SIZE: 64, TEST_CROP_SIZE: 64}}")
        with pytest.raises(ConfigError, match=r"vit_b_32 must get frames .*224.*, got 64 and 96:"):
            built(tmp_path, f"{recipe}DATA: {{TRAIN_CROP_SIZE: 64, TEST_CROP_SIZE: 96}}")

    shifts = [module for module in model.modules() if isinstance(module, TemporalShift)]
    assert model(torch.empty(1, 3, 2, 64, 64, device="meta")).shape == (1, 400)
    assert {(shift.num_tokens, shift.channel_axis) for shift in shifts} == {(1, -1)}
    assert len(shifts) == 12


def test_crops_of_two_sizes_reach_a_network_with_dynamic_sizes(tmp_path):
    model = built(
        tmp_path,
        "MODEL: {BACKBONE: timm/vit_tiny_patch16_224}\nDATA: {TRAIN_CROP_SIZE: 64, TEST_CROP_SIZE: 96}",
    )

    for size in (64, 96):
        assert model(torch.randn(1, 3, 2, size, size)).shape == (1, 400)


def test_a_vit_of_the_recipes_size_is_optimised_for_inference(tmp_path):
    model = built(
        tmp_path,
        "MODEL: {BACKBONE: timm/vit_tiny_patch16_224, BACKBONE_OPTIONS: {depth: 2}}\n"
        "DATA: {TRAIN_CROP_SIZE: 64, TEST_CROP_SIZE: 64}",
    )
    video = torch.randn(1, 3, 2, 64, 64)

    with torch.no_grad():
        torch.testing.assert_close(optimize_for_inference(model)(video), model(video), rtol=1e-3, atol=1e-5)


def test_options_reach_torchvision(tmp_path):
    model = built(
        tmp_path, "MODEL: {BACKBONE: torchvision/mobilenet_v2, BACKBONE_OPTIONS: {width_mult: 0.5}}"
    )

    assert model.backbone.trunk.features[3].conv[0].net[0].in_channels == 16


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "MODEL: {TEMPORAL_MODULES: [gate_shft]}",
            ConfigError,
            "MODEL.TEMPORAL_MODULES must be one of 'preset', 'non_local', 'temporal_shift', got 'gate_shft'",
        ),
        ("MODEL: {TEMPORAL_MODULES: [{SITES: [conv1]}]}", ConfigError, "TEMPORAL_MODULES must hold names"),
        ("MODEL: {ARCH: tsn, TEMPORAL_MODULES: [temporal_shift]}", ConfigError, "must be empty for tsn"),
        ("MODEL: {ARCH: tsn}\nTSM: {SITES: [layer1]}", ConfigError, "TSM.SITES must be empty for tsn"),
        ("TSM: {TOKENS: some}", ConfigError, "TSM.TOKENS must be one of 'all', 'class', got 'some'"),
        ("TSM: {TOKENS: class}", ConfigError, "which has no class token"),
        ("TSM: {SITES: [layer9]}", ConfigError, "got 'layer9', which matches none"),
        ("MODEL: {BACKBONE_OPTIONS: {depth: 3}}", ConfigError, "backbone 'resnet50' takes"),
        (
            "MODEL: {BACKBONE: timm/resnet18, BACKBONE_OPTIONS: {deepth: 3}}",
            ConfigError,
            "timm's resnet18 does not take the options {'deepth': 3}",
        ),
        (
            "MODEL: {BACKBONE: torchvision/resnet18, BACKBONE_OPTIONS: {deepth: 3}}",
            ConfigError,
            "torchvision's resnet18 takes other options than ['deepth']",
        ),
        (
            "MODEL: {BACKBONE: timm/bat_resnext26ts}\nDATA: {TRAIN_CROP_SIZE: 50, TEST_CROP_SIZE: 50}",
            ConfigError,
            "must get frames of the size that it was built for, 256x256 pixels, got 50",
        ),
        ("MODEL: {BACKBONE: timm/hf-hub:no/such}", UnknownComponentError, "from the Hugging Face hub"),
    ],
)
def test_what_does_not_fit_is_an_error_of_the_recipe(tmp_path, monkeypatch, text, error, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(error, match=re.escape(message)):
        built(tmp_path, text)
