"""A job with a dead rank or a dead node ends or goes on by itself; its last lines name the cause."""

import subprocess
import time
from pathlib import Path

import pytest
from support.slurm_jobs import log_of, shown, wait_for_end, wait_for_step

from launch.track.status import all_finished


@pytest.mark.parametrize(
    ("fault", "guilty"),
    [
        ("2:4:raise", "first error: rank 2 on n3"),
        ("2:4:kill", "first error: rank 2 on n3"),
        ("2:4:segv", "first error: rank 2 on n3"),
        ("2:4:exit", "first error: rank"),
    ],
)
def test_a_rank_that_dies_ends_the_job_which_names_it(jobs, monkeypatch, fault, guilty):
    monkeypatch.setenv("TOY_FAULT", fault)
    job = jobs.train("run", "--nodes", 4)
    wait_for_step(job, 3)
    died = time.monotonic()

    ended = wait_for_end(job)

    assert ended["JobState"] == "FAILED"
    assert ended["ExitCode"] != "0:0"
    assert time.monotonic() - died < 60
    last_words = log_of(job).split("launch: the job failed with status")[-1]
    assert guilty in last_words
    if "raise" in fault:
        assert "boom on rank 2" in last_words


def test_waiting_for_a_failed_job_returns_1_and_names_the_rank(jobs, monkeypatch):
    monkeypatch.setenv("TOY_FAULT", "1:2:kill")

    ended = jobs.run(
        "--cfg", jobs.recipe, "--cluster", "slurm", "--nodes", 2, "--gpus-per-node", 0, "--cpus-per-task", 1,
        "--wait", f"OUTPUT_DIR={jobs.folder / 'run'}",
    )  # fmt: skip

    assert ended.code == 1
    assert "ended as FAILED" in ended.err
    assert "first error: rank 1 on n2" in ended.err


def test_a_failed_job_starts_again_if_retries_are_allowed(jobs, monkeypatch):
    monkeypatch.setenv("TOY_FAULT", "1:15:raise")
    job = jobs.train("run", "--nodes", 2, "--retries", 1)

    ended = wait_for_end(job)

    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1")
    assert "started again (1 of 1 retries)" in log_of(job)
    assert all_finished(job)


def test_a_mistake_in_the_recipe_is_not_tried_again(jobs):
    job = jobs.train("run", "--nodes", 2, "--retries", 3, "--sbatch", "hold")
    Path(job.config_file).write_text("NO_SUCH_KEY: 1\n")
    subprocess.run(["scontrol", "release", job.job_id], check=True)

    assert (wait_for_end(job)["JobState"], shown(job.job_id)["Restarts"]) == ("FAILED", "0")
    assert "NO_SUCH_KEY" in log_of(job)


def test_a_command_that_fails_in_the_setup_is_not_hidden(jobs):
    job = jobs.train("run", "--nodes", 1, "--setup", "nosuchcommand || exit 9")

    assert (wait_for_end(job)["JobState"], shown(job.job_id)["ExitCode"]) == ("FAILED", "9:0")
    assert subprocess.run(["squeue", "-h"], capture_output=True, text=True).stdout == ""
