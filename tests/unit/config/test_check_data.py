"""Rules of the keys for the storage of videos."""

import re

import pytest

from tsn_tsm_plugin.config import load_cfg
from tsn_tsm_plugin.errors import ConfigError


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("MODEL: {ARCH: tsm}\n")
    return path


@pytest.mark.parametrize("template", ["img_{:05}.jpg", "{:06d}.jpg", "{}.jpeg"])
def test_a_template_with_a_field_for_the_number_passes(recipe, template):
    assert load_cfg(recipe, [f"DATA.FRAME_TEMPLATE={template}"]).DATA.FRAME_TEMPLATE == template


@pytest.mark.parametrize("template", ["img_%05d.jpg", "img.jpg", "{:05}/{:02}.jpg", "{name}.jpg", "{:x"])
def test_a_template_without_one_is_refused(recipe, template):
    with pytest.raises(ConfigError, match=re.escape("DATA.FRAME_TEMPLATE must hold one field for a number")):
        load_cfg(recipe, [f"DATA.FRAME_TEMPLATE='{template}'"])


def test_an_unknown_format_is_refused(recipe):
    with pytest.raises(ConfigError, match="DATA.FORMAT must be one of 'videos', 'frames', 'shards'"):
        load_cfg(recipe, ["DATA.FORMAT=folder"])


@pytest.mark.parametrize(
    "other, rule",
    [
        ("DATA.FORMAT=frames", "must be off with DATA.FORMAT frames: images are not read by FFmpeg"),
        ("DATA.DECODING_BACKEND=decord", "must be off with DATA.DECODING_BACKEND 'decord': only 'pyav' can"),
    ],
)
def test_scaling_in_the_decoder_is_refused_if_nothing_can(recipe, other, rule):
    with pytest.raises(ConfigError, match=re.escape(f"DATA.SCALE_IN_DECODER {rule}")):
        load_cfg(recipe, ["DATA.SCALE_IN_DECODER=true", other])


@pytest.mark.parametrize(
    "other, rule",
    [
        ("SOLVER.LABEL_SMOOTHING=0.1", "SOLVER.LABEL_SMOOTHING must be 0 with DATA.MULTI_LABEL"),
        ("TRAIN.CLASS_BALANCED=true", "TRAIN.CLASS_BALANCED must be off with DATA.MULTI_LABEL"),
    ],
)
def test_what_needs_one_class_for_each_video_is_refused_with_several(recipe, other, rule):
    with pytest.raises(ConfigError, match=re.escape(rule)):
        load_cfg(recipe, ["DATA.MULTI_LABEL=true", other])
