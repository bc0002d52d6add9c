"""The README's main job, as typed: TSM learns the direction of a motion, TSN cannot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tsn_tsm_plugin import optimize_for_inference
from tsn_tsm_plugin.data.build import build_dataset
from tsn_tsm_plugin.inference.trained_model import load_trained
from tsn_tsm_plugin.transforms import Normalize

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def working_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("motion")


def top1_of(recipe: str, folder: Path, *overrides: str) -> float:
    command = [sys.executable, str(ROOT / "launch" / "submit.py")]
    path = str(ROOT / "projects" / f"{recipe}.yaml")
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    subprocess.run(
        [*command, "--cfg", path, *overrides], cwd=folder, env=environment, check=True, timeout=1500
    )
    run = folder / "runs" / recipe
    assert {path.suffix for path in run.rglob("*.png")} == {".png"}
    return json.loads((run / "results.json").read_text())["top1"]


@pytest.fixture(scope="module")
def tsm_top1(working_folder):
    return top1_of("tsm/motion_r18_8f", working_folder)


@pytest.mark.slow
def test_tsm_learns_the_direction_of_a_motion(tsm_top1):
    assert tsm_top1 >= 95.0


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [(None, 1e-4), (torch.bfloat16, 0.05)])
@torch.no_grad()
def test_the_network_optimised_for_inference_is_as_good(
    dtype, tolerance, tsm_top1, working_folder, monkeypatch
):
    monkeypatch.chdir(working_folder)
    trained = load_trained("runs/tsm/motion_r18_8f")
    optimized = optimize_for_inference(trained.model.cpu(), dtype=dtype)
    normalize = Normalize(trained.cfg.DATA.MEAN, trained.cfg.DATA.STD)
    clips = build_dataset(trained.cfg, "test")
    num_correct = 0

    for clip in (clips[index] for index in range(len(clips))):
        video = normalize(clip["video"][None])
        expected, scores = trained.model(video), optimized(video)
        assert (scores - expected).abs().max() < tolerance * expected.std()
        num_correct += int(scores.argmax() == clip["label"])

    assert 100.0 * num_correct / len(clips) == pytest.approx(tsm_top1)


@pytest.mark.slow
def test_tsn_cannot_know_the_direction_of_a_motion(working_folder):
    # A few of its epochs: it cannot learn more in the others.
    assert top1_of("tsn/motion_r18_8f", working_folder, "SOLVER.MAX_EPOCH", "2") <= 55.0


@pytest.mark.slow
def test_online_tsm_learns_it_from_the_past_alone(working_folder):
    # Half of its epochs. Without the order of frames 50 % can be had.
    assert top1_of("tsm/motion_r18_8f_online", working_folder, "SOLVER.MAX_EPOCH", "10") >= 80.0
