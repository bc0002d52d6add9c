"""Rules of the keys for the network."""

import re

import pytest

from tsn_tsm_plugin.config import load_cfg
from tsn_tsm_plugin.errors import ConfigError


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("MODEL: {ARCH: tsm}\nNONLOCAL: {INSTANTIATION: gaussian}\n")
    return path


def test_checkpointing_non_local_blocks_passes_if_there_are_some(recipe):
    assert load_cfg(recipe, ["NONLOCAL.ACT_CHECKPOINT=true"]).NONLOCAL.ACT_CHECKPOINT


@pytest.mark.parametrize("other", ["NONLOCAL.INSTANTIATION=", "MODEL.ARCH=tsn"])
def test_checkpointing_non_local_blocks_is_refused_if_there_are_none(recipe, other):
    rule = "NONLOCAL.ACT_CHECKPOINT must be off for a network without non-local blocks"
    with pytest.raises(ConfigError, match=re.escape(rule)):
        load_cfg(recipe, ["NONLOCAL.ACT_CHECKPOINT=true", other])


def test_precise_statistics_are_refused_if_statistics_are_frozen(recipe):
    rule = "BN.USE_PRECISE_STATS must be off with BN.FREEZE_STATS"
    with pytest.raises(ConfigError, match=re.escape(rule)):
        load_cfg(recipe, ["BN.FREEZE_STATS=true", "BN.USE_PRECISE_STATS=true"])
