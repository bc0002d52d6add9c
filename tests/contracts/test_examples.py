"""The examples in docstrings work, and the names that people meet first have an example."""

import doctest
import importlib
from pathlib import Path

import pytest

import tsn_tsm_plugin
from tsn_tsm_plugin import evaluation, layers, models, transforms

LIBRARY = Path(tsn_tsm_plugin.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts)
    for path in LIBRARY.rglob("*.py")
    if ">>>" in path.read_text()
)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PEOPLE_MEET_FIRST = [
    tsn_tsm_plugin.StreamingTSM,
    tsn_tsm_plugin.VideoReader,
    tsn_tsm_plugin.activate,
    tsn_tsm_plugin.create_tsm,
    tsn_tsm_plugin.create_tsn,
    tsn_tsm_plugin.dense_indices,
    tsn_tsm_plugin.get_cfg,
    tsn_tsm_plugin.keep_freed_memory,
    tsn_tsm_plugin.list_components,
    tsn_tsm_plugin.load_cfg,
    tsn_tsm_plugin.load_weights,
    tsn_tsm_plugin.optimize_for_inference,
    tsn_tsm_plugin.segment_indices,
    evaluation.combine,
    layers.NonLocal,
    layers.temporal_shift,
    layers.tsm_bottleneck,
    models.create_tsm_head,
    transforms.CutMix,
    transforms.MixUp,
    transforms.Normalize,
    transforms.ShortSideScale,
    transforms.TenCrop,
    transforms.ThreeCrop,
    transforms.TwiceSample,
    transforms.uniform_sampler,
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_work(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)

    assert ran.attempted > 0
    assert ran.failed == 0, "see the captured output"
    assert not list(tmp_path.iterdir()), "an example leaves files behind"


@pytest.mark.parametrize("component", PEOPLE_MEET_FIRST, ids=lambda component: component.__name__)
def test_what_people_meet_first_shows_how_it_is_used(component):
    assert ">>>" in (component.__doc__ or "")
