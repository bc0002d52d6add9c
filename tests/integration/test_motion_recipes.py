"""The README's main job, as typed: TSM learns the direction of a motion, TSN cannot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def working_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("motion")


def top1_of(method: str, folder: Path) -> float:
    command = [sys.executable, str(ROOT / "launch" / "submit.py")]
    recipe = str(ROOT / "projects" / method / "motion_r18_8f.yaml")
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    subprocess.run([*command, "--cfg", recipe], cwd=folder, env=environment, check=True, timeout=1500)
    run = folder / "runs" / method / "motion_r18_8f"
    assert {path.suffix for path in run.rglob("*.png")} == {".png"}
    return json.loads((run / "results.json").read_text())["top1"]


@pytest.mark.slow
def test_tsm_learns_the_direction_of_a_motion(working_folder):
    assert top1_of("tsm", working_folder) >= 95.0


@pytest.mark.slow
def test_tsn_cannot_know_the_direction_of_a_motion(working_folder):
    assert top1_of("tsn", working_folder) <= 55.0
