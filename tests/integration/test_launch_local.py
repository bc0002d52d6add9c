"""``python launch/submit.py`` on one machine, from the outside: what a user types and sees."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.jobs import job_environment, write_job


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    return write_job(tmp_path_factory.mktemp("launch local"), num_train=8, num_val=3)


@pytest.fixture(autouse=True)
def environment(tmp_path_factory, monkeypatch):
    for name, value in job_environment(tmp_path_factory.mktemp("plugin")).items():
        monkeypatch.setenv(name, value)


def command(repository: Path, *words: object) -> list[str]:
    return [sys.executable, str(repository / "launch" / "submit.py"), *map(str, words)]


def run(repository: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(repository, *words), capture_output=True, text=True, timeout=240)


def test_two_processes_train_once_and_the_log_reaches_the_terminal(repository, recipe, tmp_path):
    words = ["--cfg", recipe, "--cluster", "local", "--tasks-per-node", 2]
    words += ["SOLVER.MAX_EPOCH=1", f"OUTPUT_DIR={tmp_path / 'my run'}"]
    ended = run(repository, *words)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "epoch 1 step 2/2" in ended.stdout
    assert f"run folder {tmp_path / 'my run'}" in ended.stderr
    assert json.loads((tmp_path / "my run" / "results.json").read_text())["num_videos"] == 3

    again = run(repository, *words)
    assert again.returncode == 0, again.stderr
    assert f"nothing to do: the run in {tmp_path / 'my run'} is complete" in again.stderr
    assert len(list((tmp_path / "my run" / "launch").iterdir())) == 1


def test_a_mistake_in_the_recipe_is_found_before_any_process_starts(repository, recipe, tmp_path):
    ended = run(
        repository, "--cfg", recipe, "--cluster", "local", "--tasks-per-node", 2,
        "DATA.TRAIN_LIST=nowhere.txt", f"OUTPUT_DIR={tmp_path / 'run'}",
    )  # fmt: skip

    assert ended.returncode == 2
    assert "nowhere.txt" in ended.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_failed_job_names_the_rank_and_its_error(repository, recipe, tmp_path):
    (recipe.parent / "data" / "bad.txt").write_text("missing.mp4 0\n" * 4)
    ended = run(
        repository, "--cfg", recipe, "--cluster", "local", "--tasks-per-node", 2,
        "DATA.TRAIN_LIST=bad.txt", f"OUTPUT_DIR={tmp_path / 'run'}",
    )  # fmt: skip

    assert ended.returncode == 1
    assert "first error: rank" in ended.stderr
    assert "missing.mp4" in ended.stderr


def test_ctrl_c_leaves_a_checkpoint_that_the_same_command_goes_on_from(repository, recipe, tmp_path):
    words = ["--cfg", recipe, "--cluster", "local", "SOLVER.MAX_EPOCH=300", "TRAIN.EVAL_PERIOD=0"]
    words += ["TRAIN.CHECKPOINT_PERIOD=1000", f"OUTPUT_DIR={tmp_path / 'run'}"]
    running = subprocess.Popen(
        command(repository, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not (metrics.exists() and metrics.stat().st_size):
        assert time.monotonic() < deadline
        assert running.poll() is None, running.communicate()
        time.sleep(0.1)

    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=120)

    assert running.returncode == 3, errors
    assert "the same command goes on from the newest checkpoint" in errors
    assert len(list((tmp_path / "run" / "checkpoints").glob("step_*.pt"))) == 1
    status = subprocess.run(
        command(repository, "status", tmp_path / "run"), capture_output=True, text=True, timeout=60
    )
    assert " CANCELLED " in status.stdout


@pytest.mark.slow
def test_torchrun_trains_without_the_launcher(recipe, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "tsn_tsm_plugin.tools.train", "--cfg", str(recipe), "SOLVER.MAX_EPOCH=1",
         f"OUTPUT_DIR={tmp_path}"],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "environment.json").read_text())["world_size"] == 2
