"""The sampler that a recipe names."""

import pytest

from tsn_tsm_plugin import get_cfg, load_cfg
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.registry import SAMPLERS
from tsn_tsm_plugin.transforms import dense_indices, segment_indices
from tsn_tsm_plugin.transforms.build import build_index_sampler


def config(**sampling):
    cfg = get_cfg()
    cfg.DATA.update(sampling)
    cfg.TEST.NUM_ENSEMBLE_VIEWS = 3
    return cfg


def test_testing_and_validation_use_the_test_sampler():
    cfg = config(SAMPLER="uniform", TEST_SAMPLER="dense")
    windows = dense_indices(100, 8, mode="test", num_positions=3).tolist()

    assert build_index_sampler(cfg, "test")(100, None).tolist() == windows
    assert build_index_sampler(cfg, "val")(100, None).tolist() == windows
    assert len(build_index_sampler(cfg, "train")(100, None)) == 8


def test_training_uses_the_training_sampler():
    cfg = config(SAMPLER="dense", TEST_SAMPLER="uniform")
    cfg.TEST.NUM_ENSEMBLE_VIEWS = 1

    assert build_index_sampler(cfg, "train")(100, None).diff().unique().tolist() in ([8], [-92, 8])
    assert (
        build_index_sampler(cfg, "test")(100, None).tolist() == segment_indices(100, 8, mode="test").tolist()
    )


@pytest.fixture
def first_frames():
    @SAMPLERS.register("first_frames")
    def first_frames(num_segments, *, mode, num_views=1):
        return lambda num_frames, generator: (mode, num_segments, num_views)

    yield
    SAMPLERS.unregister("first_frames")


def test_a_registered_sampler_is_asked_for_views_in_testing_only(first_frames, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("DATA: {SAMPLER: first_frames}\nTEST: {NUM_ENSEMBLE_VIEWS: 3}")
    cfg = load_cfg(recipe)

    sampled = [build_index_sampler(cfg, split)(100, None) for split in ("train", "val", "test")]
    assert sampled == [("train", 8, 1), ("test", 8, 1), ("test", 8, 3)]


@pytest.mark.parametrize("key", ["DATA.SAMPLER", "DATA.TEST_SAMPLER"])
def test_an_unknown_sampler_is_refused_with_those_that_exist(first_frames, key, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("")

    with pytest.raises(ConfigError, match=f"{key} must be one of .*'dense', .*'first_frames'.*, got 'dens'"):
        load_cfg(recipe, [key, "dens"])
