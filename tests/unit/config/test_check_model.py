"""Rules of the keys that say what network is trained."""

import re

import pytest

from tsn_tsm_plugin.config import load_cfg
from tsn_tsm_plugin.errors import ConfigError


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("MODEL: {ARCH: tsm}\nNONLOCAL: {INSTANTIATION: gaussian}\n")
    return path


@pytest.mark.parametrize("which", ["off", "all", "non_local"])
def test_every_choice_of_blocks_to_checkpoint_passes(recipe, which):
    assert load_cfg(recipe, [f"MODEL.ACT_CHECKPOINT={which}"]).MODEL.ACT_CHECKPOINT == which


def test_another_choice_is_refused_with_those_there_are(recipe):
    rule = "MODEL.ACT_CHECKPOINT must be one of 'off', 'all', 'non_local', got 'true'"
    with pytest.raises(ConfigError, match=re.escape(rule)):
        load_cfg(recipe, ["MODEL.ACT_CHECKPOINT=true"])


@pytest.mark.parametrize("other", ["NONLOCAL.INSTANTIATION=", "MODEL.ARCH=tsn"])
def test_checkpointing_non_local_blocks_is_refused_where_there_are_none(recipe, other):
    rule = "MODEL.ACT_CHECKPOINT must be 'off' or 'all' for a network without non-local blocks"
    with pytest.raises(ConfigError, match=re.escape(rule)):
        load_cfg(recipe, ["MODEL.ACT_CHECKPOINT=non_local", other])
