"""An installed package with a component of every kind trains, resumes and is tested from one recipe."""

import sys
from pathlib import Path

import pytest
import torch
import yaml
from support import outside_package
from support.distributions import write_distribution
from support.videos import numbered_frames, write_video

from tsn_tsm_plugin import engine, load_cfg, registry
from tsn_tsm_plugin.config.defaults import KEYS
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.inference.trained_model import load_trained
from tsn_tsm_plugin.registry import REGISTRIES

COMPONENTS = {
    "backbone": ("Backbone", 12),
    "head": ("Head", 0.5),
    "temporal_module": ("FrameMean", 0.25),
    "sampler": ("first_frames", 1),
    "transform": ("Invert", 255),
    "batch_transform": ("Smooth", 0.1),
    "decoder": ("DarkDecoder", 2),
    "dataset": ("folders", ".mp4"),
    "optimizer": ("SignDescent", 0.9),
    "lr_policy": ("halving", 1),
    "loss": ("focal", 2.0),
    "logger": ("Lines", "lines.txt"),
}
"""Kind to the attribute of the package, and the value of its option."""

RECIPE = """
RNG_SEED: 1
OUTPUT_DIR: run
LOGGERS: [{name: outside_logger, options: {file: lines.txt}}]
MODEL:
  ARCH: tsm
  NUM_CLASSES: 2
  BACKBONE: outside_backbone
  BACKBONE_OPTIONS: {width: 12}
  HEAD: outside_head
  HEAD_OPTIONS: {scale: 0.5}
  LOSS_FUNC: outside_loss
  LOSS_OPTIONS: {gamma: 2.0}
  TEMPORAL_MODULES: [{name: outside_temporal_module, options: {share: 0.25}}]
DATA:
  PATH_TO_DATA_DIR: data
  FORMAT: outside_dataset
  FORMAT_OPTIONS: {suffix: .mp4}
  DECODING_BACKEND: outside_decoder
  DECODER_OPTIONS: {darker: 2}
  NUM_FRAMES: 2
  SAMPLER: outside_sampler
  SAMPLER_OPTIONS: {start: 1}
  TEST_SAMPLER: outside_sampler
  TEST_SAMPLER_OPTIONS: {start: 1}
  TRAIN_TRANSFORMS: [{name: outside_transform, options: {top: 255}}, {name: center_crop, options: {size: 32}}]
  TEST_TRANSFORMS: [preset, {name: outside_transform, options: {top: 255}}]
  TEST_SHORT_SIDE: 0
  TRAIN_CROP_SIZE: 32
  TEST_CROP_SIZE: 32
MIXUP: {ENABLE: true, METHOD: outside_batch_transform, OPTIONS: {smoothing: 0.1}}
DATA_LOADER: {NUM_WORKERS: 0}
TRAIN: {BATCH_SIZE: 2, EVAL_PERIOD: 1}
SOLVER:
  BASE_LR: 0.01
  OPTIMIZING_METHOD: outside_optimizer
  OPTIMIZER_OPTIONS: {decay: 0.9}
  PARAM_GROUPS: tsn
  LR_POLICY: outside_lr_policy
  LR_POLICY_OPTIONS: {every: 1}
  MAX_EPOCH: 1
TENSORBOARD: {ENABLE: false}
"""


@pytest.fixture
def used(tmp_path, monkeypatch):
    """Install the package in a site directory; return what was made of it, kind by option."""
    site = tmp_path / "site"
    site.mkdir()
    write_distribution(
        site,
        "outside-package",
        modules={"outside": Path(outside_package.__file__).read_text()},
        entry_points={
            REGISTRIES[kind].group: {f"outside_{kind}": f"outside:{name}"}
            for kind, (name, _) in COMPONENTS.items()
        },
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    registry.rescan()
    for split in ("train", "val", "test"):
        for label in (0, 1):
            folder = tmp_path / "data" / split / str(label)
            folder.mkdir(parents=True)
            write_video(folder / f"{label}.mp4", numbered_frames(4, height=36, width=48)[label:])
    yield lambda: set(sys.modules["outside"].USED)
    monkeypatch.undo()
    registry.rescan()
    sys.modules.pop("outside", None)


def test_every_kind_that_a_recipe_names_is_in_the_package():
    assert set(COMPONENTS) == {key.component for key in KEYS.values() if key.component}
    # PyTorchVideo's create_resnet(bottleneck=NAME) reaches bottlenecks.
    assert set(COMPONENTS) == set(REGISTRIES) - {"bottleneck"}


def test_a_recipe_that_names_them_all_trains_resumes_and_is_tested(used, tmp_path):
    recipe = tmp_path / "outside.yaml"
    recipe.write_text(RECIPE)
    expected = {(kind, value) for kind, (_, value) in COMPONENTS.items()}

    trained = engine.train(load_cfg(recipe))
    assert used() == expected
    first = torch.load(next(Path("run/checkpoints").glob("*1.pt")), weights_only=True)
    assert first["step"] == 1
    assert all("mean" in state for state in first["optimizer_state"]["state"].values())
    assert yaml.safe_load(first["config"])["MODEL"]["LOSS_OPTIONS"] == {"gamma": 2.0}

    resumed = engine.train(load_cfg(recipe, ["SOLVER.MAX_EPOCH=2"]))
    assert (trained["step"], resumed["step"]) == (1, 2)

    lines = Path("run/lines.txt").read_text().splitlines()
    assert lines[0] == "run from 0, lr 0.01" and "run from 1, lr 0.01" in lines and lines[-1] == "closed"

    tested = engine.evaluate(load_cfg(recipe, ["SOLVER.MAX_EPOCH=2"]))
    assert tested["loss"] == pytest.approx(resumed["loss"])

    loaded = load_trained("run")
    assert loaded.predict("data/test/1/1.mp4").probabilities.sum() == pytest.approx(1.0)


def test_options_that_the_checkpoint_was_not_trained_with_are_refused_or_logged(used, tmp_path):
    recipe = tmp_path / "outside.yaml"
    recipe.write_text(RECIPE)
    engine.train(load_cfg(recipe))

    with pytest.raises(CheckpointError) as error:
        engine.train(load_cfg(recipe, ["MODEL.HEAD_OPTIONS.scale=1.0", "SOLVER.MAX_EPOCH=2"]))
    assert "MODEL.HEAD_OPTIONS: {'scale': 0.5} -> {'scale': 1.0}" in str(error.value)
    engine.train(load_cfg(recipe, ["MODEL.LOSS_OPTIONS.gamma=1.0", "SOLVER.MAX_EPOCH=2"]))
    log = Path("run/log.txt").read_text()
    assert "MODEL.LOSS_OPTIONS: {'gamma': 2.0} -> {'gamma': 1.0}" in log
