"""The Kinetics-400 recipes on a tiny folder of real videos in Kinetics' list format."""

import json
import shutil
from pathlib import Path

import pytest

from tsn_tsm_plugin import engine, load_cfg

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
LABELS = {
    "arm_wrestling.mp4": 5,
    "low_fps.mp4": 399,
    "two_video_streams.mp4": 0,
    "av1_video.mkv": 17,
}
SMALL = {
    "MODEL.BACKBONE_WEIGHTS": "",
    "DATA.LABEL_MAP": "",
    "DATA.MAX_BAD_VIDEOS": "0",
    "DATA.TRAIN_SHORT_SIDE": "72",
    "DATA.TEST_SHORT_SIDE": "72",
    "DATA.TRAIN_CROP_SIZE": "64",
    "DATA.TEST_CROP_SIZE": "64",
    "DATA_LOADER.NUM_WORKERS": "2",
    "TRAIN.BATCH_SIZE": "2",
    "TEST.BATCH_SIZE": "2",
    "SOLVER.MAX_EPOCH": "1",
}


@pytest.mark.parametrize(
    "recipe", ["tsm/k400_r50_8f", pytest.param("tsn/k400_r50_3f", marks=pytest.mark.slow)]
)
def test_a_kinetics_recipe_trains_and_tests_on_real_videos(recipe, shared_videos, tmp_path):
    data = tmp_path / "k400"
    (data / "videos" / "train").mkdir(parents=True)
    lines = []
    for name, label in LABELS.items():
        shutil.copy(shared_videos / name, data / "videos" / "train" / name)
        lines.append(f"train/{name} {label}\n")
    (data / "train.txt").write_text("".join(lines))
    (data / "val.txt").write_text("".join(lines[:3]))

    overrides = {**SMALL, "DATA.PATH_TO_DATA_DIR": str(data), "OUTPUT_DIR": str(tmp_path / "run")}
    cfg = load_cfg(PROJECTS / f"{recipe}.yaml", [f"{key}={value}" for key, value in overrides.items()])
    engine.train(cfg)

    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["num_videos"] == 3
    assert 0.0 <= results["top1"] <= results["top5"] <= 100.0
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) >= 1
