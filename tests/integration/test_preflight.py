"""A run checks its needs before the first step and lists all faults at once."""

import re
from pathlib import Path

import pytest
import torch
from support.runs import tiny_cfg, write_dataset

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.config.run_dir import is_same_run
from tsn_tsm_plugin.engine.preflight import check_before_run
from tsn_tsm_plugin.errors import ConfigError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def lists(data, tmp_path):
    """Return a list file that has label 9 of 3 classes, an empty one, and one that is missing."""
    (data / "nine.txt").write_text("val_0.mp4 9\n")
    (data / "empty.txt").write_text("")
    return data


# Inception needs frames of some size.
SIDES = {
    f"DATA__{key}": 96 for key in ("TRAIN_CROP_SIZE", "TEST_CROP_SIZE", "TRAIN_SHORT_SIDE", "TEST_SHORT_SIDE")
}


@pytest.mark.parametrize(
    ("settings", "messages"),
    [
        ({"DATA__VAL_LIST": "nothing.txt"}, ["DATA.VAL_LIST: .*nothing.txt"]),
        ({"DATA__VAL_LIST": "empty.txt"}, ["DATA.VAL_LIST: .*empty.txt"]),
        ({"DATA__VAL_LIST": "nine.txt"}, ["nine.txt:1: .*9"]),
        ({"DATA__TEST_LIST": "nothing.txt"}, ["DATA.TEST_LIST: .*nothing.txt"]),
        ({"MODEL__NUM_CLASSES": 1, "DATA__LABEL_MAP": ""}, ["MODEL.NUM_CLASSES must be at least 2, got 1"]),
        ({"MODEL__BACKBONE": "resnet18", "TSM__SHIFT_DIV": 128}, ["MODEL.BACKBONE resnet18: .*128"]),
        ({"MODEL__BACKBONE": "timm/inception_v3"} | SIDES, ["has no residual blocks that the temporal"]),
        ({"MODEL__BACKBONE": "timm/resnet51"}, ["timm/resnet51"]),
        ({"MODEL__FROZEN_MODULES": ["backbone", "head"]}, ["MODEL.FROZEN_MODULES must leave something"]),
        ({"TRAIN__CHECKPOINT_FILE_PATH": "no.pt"}, ["TRAIN.CHECKPOINT_FILE_PATH: no.pt is not a file"]),
        ({"MODEL__BACKBONE_WEIGHTS": "a/b.pth"}, ["MODEL.BACKBONE_WEIGHTS a/b.pth is not a file"]),
        (
            {
                "DATA__VAL_LIST": "nothing.txt", "DATA__LABEL_MAP": "names.txt",
                "MODEL__FROZEN_MODULES": ["backbone", "head"],
            },
            ["3 faults", "names.txt", "nothing.txt", "FROZEN_MODULES"],
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_faults_are_found_before_the_run_and_leave_no_folder(tmp_path, lists, settings, messages):
    with pytest.raises(ConfigError) as error:
        engine.train(tiny_cfg(tmp_path, data=lists, **settings))
    for message in messages:
        assert re.search(message, str(error.value)), str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("key", ["TRAIN__CHECKPOINT_FILE_PATH", "MODEL__BACKBONE_WEIGHTS"])
@pytest.mark.parametrize("fault", ["damaged", "another network"])
def test_weights_to_start_from_are_opened_before_the_run(tmp_path, data, monkeypatch, key, fault):
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": torch.zeros(2)}, "w.pt")
    if fault == "damaged":
        Path("w.pt").write_bytes(Path("w.pt").read_bytes()[:-50])
    with pytest.raises(ConfigError, match=key.replace("__", r"\.") + r": w\.pt"):
        engine.train(tiny_cfg(tmp_path, data=data, MODEL__BACKBONE="resnet18", **{key: "w.pt"}))
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_needs_no_weights_to_start_from(tmp_path, data):
    cfg = tiny_cfg(tmp_path, data=data, TRAIN__CHECKPOINT_FILE_PATH="gone.pt")
    with pytest.raises(ConfigError, match="gone.pt is not a file"):
        check_before_run(cfg, "train")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "step_00000003.pt").touch()
    check_before_run(cfg, "train")


def test_synchronised_batch_norm_needs_gpus_or_one_process(tmp_path, data):
    cfg = tiny_cfg(tmp_path, data=data, BN__NORM_TYPE="sync_batchnorm")
    check_before_run(cfg, "train", world_size=2, has_gpus=True)
    check_before_run(cfg, "train", world_size=1, has_gpus=False)
    check_before_run(cfg, "evaluate", world_size=2, has_gpus=False)
    with pytest.raises(ConfigError, match=r"BN\.NORM_TYPE must be 'batchnorm' for 2 processes on CPUs"):
        check_before_run(cfg, "train", world_size=2, has_gpus=False)


def test_a_folder_that_cannot_be_made_is_named(tmp_path, data):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"OUTPUT_DIR .*file/run cannot be written"):
        engine.train(tiny_cfg(tmp_path, data=data, out="file/run"))


def test_a_step_that_does_not_fit_is_warned_of_with_what_fits(tmp_path, data, monkeypatch):
    monkeypatch.setattr("tsn_tsm_plugin.engine.resume.available_memory", lambda device: 30_000)
    engine.train(tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1))
    log = (tmp_path / "run" / "log.txt").read_text()
    assert re.search(
        r"A step needs about .* clips at a time would fit\. Set TRAIN\.MAX_CLIPS_PER_FORWARD", log
    )


def test_minus_one_records_the_clips_that_fit_and_finds_its_run_again(tmp_path, data, monkeypatch):
    monkeypatch.setattr("tsn_tsm_plugin.engine.resume.available_memory", lambda device: 30_000)
    settings = {"TRAIN__MAX_CLIPS_PER_FORWARD": -1, "SOLVER__MAX_EPOCH": 1}
    cfg = tiny_cfg(tmp_path, data=data, **settings)
    results = engine.train(cfg)
    config = tmp_path / "run" / "config.yaml"
    clips = int(re.search(r"MAX_CLIPS_PER_FORWARD: (\d+)", config.read_text()).group(1))
    assert 1 <= clips < 4
    assert results["step"] == 3
    assert is_same_run(cfg, config)
    assert engine.train(cfg) == results
