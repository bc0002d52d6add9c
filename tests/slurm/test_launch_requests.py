"""Requests to SLURM: mistakes are found before, and the state of a job is reported afterwards."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.local_slurm import queued
from support.slurm_jobs import log_of, shown, wait_for_end, wait_for_state

from launch.track.records import submissions_of

_COMMENT = 'it\'s $HOME "now"'
_QUICK = ("SOLVER.MAX_EPOCH=1", "TRAIN.EVAL_PERIOD=0")


@pytest.fixture(autouse=True)
def quick_steps(jobs, monkeypatch):
    monkeypatch.setenv("TOY_STEP_SECONDS", "0")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--partition", "nosuch"],
            "--partition must be one of debug, gentle, mixed, short, urgent, got 'nosuch'.",
        ),
        (["--nodes", 8, "TRAIN.BATCH_SIZE=8"], "--nodes must be at most 4 in partition debug, got 8."),
        (
            ["--partition", "short", "--time", "1:00:00"],
            "--time must be at most 10 minutes in partition",
        ),
        (["--gpus-per-node", 8, "TRAIN.BATCH_SIZE=8"], "--gpus-per-node must be what the nodes of partition"),
        (["--cpus-per-task", 64], "--cpus-per-task times --tasks-per-node must be at most 4"),
        (["--time", "1", "--signal-delay", 100], "--signal-delay must be shorter than --time (60 s)"),
        (["--partition", "mixed", "--gpus-per-node", 4, "--mem", "2G"], "SLURM refuses this request: "),
        (["--constraint", "volta"], "SLURM refuses this request: "),
        (["--mem", "900G"], "SLURM refuses this request: "),
        (["--nodelist", "n9"], "SLURM refuses this request: "),
    ],
)
def test_an_impossible_request_is_refused_and_leaves_nothing(jobs, words, message):
    ended = jobs.run(
        "--cfg",
        jobs.recipe,
        "--cluster",
        "slurm",
        "--gpus-per-node",
        0,
        *words,
        f"OUTPUT_DIR={jobs.folder / 'run'}",
    )

    assert ended.code == 2
    assert message in ended.err
    assert queued() == ""
    assert not jobs.folder.exists()


def test_all_faults_come_together(jobs):
    ended = jobs.run(
        "--cfg", jobs.recipe, "--cluster", "slurm", "--nodes", 9, "--gpus-per-node", 9, "--snapshot", "svn"
    )

    assert ended.code == 2
    assert "5 faults in this job:" in ended.err
    for name in ("TRAIN.BATCH_SIZE", "--snapshot", "--nodes", "--gpus-per-node", "--cpus-per-task"):
        assert f"\n  {name} " in ended.err


def test_a_run_folder_in_use_is_refused(jobs, monkeypatch):
    monkeypatch.setenv("TOY_STEP_SECONDS", "1")
    job = jobs.train("run")
    wait_for_state(job, "RUNNING")

    ended = jobs.run("--cfg", jobs.recipe, "--cluster", "slurm", f"OUTPUT_DIR={job.run_dir}")

    assert ended.code == 2
    assert f"is in use by job {job.job_id} (RUNNING)" in ended.err


def test_gpus_and_time_come_from_the_partition(jobs):
    shown_script = jobs.run(
        "--cfg", jobs.recipe, "--cluster", "slurm", "--partition", "short", "--dry-run", "--signal-delay", 60
    )

    assert "#SBATCH --gpus-per-node=4" in shown_script.out
    assert "#SBATCH --ntasks-per-node=4" in shown_script.out
    assert "#SBATCH --time=10" in shown_script.out
    assert not jobs.folder.exists()


def test_among_unlike_nodes_a_job_runs_on_those_with_gpus(jobs):
    ended = jobs.run(
        "--cfg",
        jobs.recipe,
        "--partition",
        "mixed",
        *_QUICK,
        f"OUTPUT_DIR={jobs.folder / 'run'}",
        "--health-check",
        0,  # The GPUs of this SLURM are names only.
    )

    assert ended.code == 0, ended.err
    assert (
        "partition mixed has 2 nodes with 4 GPUs and 2 nodes without GPUs: this job takes 4 of" in ended.err
    )
    job = submissions_of(jobs.folder / "run")[-1]
    state = wait_for_end(job)
    assert state["JobState"] == "COMPLETED", log_of(job)
    assert state["BatchHost"] in ("n1", "n2")
    assert job.num_ranks == 4


def test_the_script_of_a_dry_run_is_the_one_that_is_submitted(jobs):
    words = ["--comment", _COMMENT, "--env", "GREETING=a b", "--nice", 3, "--gpus-per-node", 0, *_QUICK]
    run = ["--cfg", jobs.recipe, "--cluster", "slurm", *words, f"OUTPUT_DIR={jobs.folder / 'run'}"]
    promised = jobs.run(*run, "--dry-run").out.split("#!/bin/bash")[1]

    jobs.run(*run)

    job = submissions_of(jobs.folder / "run")[-1]
    script = (Path(job.folder) / f"{job.job_id}_submission.sh").read_text().split("#!/bin/bash")[1]
    assert script.strip() == promised.replace("TIME", Path(job.folder).name).strip()
    assert wait_for_end(job)["JobState"] == "COMPLETED", log_of(job)
    asked = ["squeue", "-h", "-t", "all", "-j", job.job_id, "-o", "%k"]
    assert subprocess.run(asked, capture_output=True, text=True).stdout.strip() == _COMMENT


def test_waiting_returns_0_and_status_works_with_accounting_and_without(jobs, request):
    assert _waited(jobs, "with").code == 0
    request.getfixturevalue("no_sacct")

    assert _waited(jobs, "without").code == 0

    assert "COMPLETED" in jobs.run("status", jobs.folder / "without").out
    assert jobs.run("list", "--runs", jobs.folder).out.count("COMPLETED") == 2
    assert jobs.run("tail", jobs.folder / "with").code == 0


def test_a_job_that_slurm_has_forgotten_is_known_by_its_folder(jobs, monkeypatch):
    _waited(jobs, "run")
    monkeypatch.setattr("launch.cluster.slurm_client.job_states", lambda ids: {})

    monkeypatch.setattr("launch.cluster.slurm_client.can_ask", lambda: False)

    assert "COMPLETED" in jobs.run("status", jobs.folder / "run").out


def test_a_request_that_can_never_start_is_not_waited_for(jobs, capsys):
    from launch.track.wait import wait_for

    failing = jobs.train("first", "--setup", "exit 9")
    job = jobs.train("second", "--sbatch", f"dependency=afterok:{failing.job_id}")

    assert wait_for(job) == 1
    assert "DependencyNeverSatisfied" in capsys.readouterr().err


def test_an_edit_of_the_checkout_does_not_reach_a_job_in_the_queue(jobs, monkeypatch, tmp_path, repository):
    checkout = tmp_path / "a checkout"
    for room in ("tsn_tsm_plugin", "launch", "projects"):
        shutil.copytree(repository / room, checkout / room, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("launch.submit_job.to_slurm.CODE_ROOT", checkout)
    monkeypatch.chdir(checkout)
    job = jobs.train("run", "--sbatch", "hold", *_QUICK)
    engine = checkout / "tsn_tsm_plugin" / "engine" / "__init__.py"

    engine.write_text("raise RuntimeError('the edited code ran')\n")
    subprocess.run(["scontrol", "release", job.job_id], check=True)

    assert wait_for_end(job)["JobState"] == "COMPLETED", log_of(job)


def test_a_job_can_be_submitted_from_inside_a_job(jobs, repository):
    outer = jobs.folder / "outer.log"
    outer.parent.mkdir(parents=True)
    command = [
        sys.executable, repository / "launch" / "submit.py", "--cfg", jobs.recipe, "--nodes", "2",
        "--gpus-per-node", "0", "--cpus-per-task", "1", *_QUICK, f"OUTPUT_DIR={jobs.folder / 'run'}",
    ]  # fmt: skip
    script = jobs.folder / "outer.sh"
    script.write_text("#!/bin/bash\nexport RANK=3\n" + " ".join(f"'{word}'" for word in command) + "\n")

    subprocess.run(["sbatch", "--wait", "--array=3", "-n", "1", "-o", outer, script], check=True, timeout=180)

    job = submissions_of(jobs.folder / "run")[-1]
    assert wait_for_end(job)["JobState"] == "COMPLETED", log_of(job)
    assert f"job {job.job_id}: 2 nodes, 2 processes" in outer.read_text()
    assert "ArrayTaskId" not in shown(job.job_id)


def test_ranks_of_an_allocation_that_exists_already(jobs, repository):
    run_dir = jobs.folder / "run"
    ended = subprocess.run(
        ["srun", "-N", "2", "-n", "2", "-c", "1", sys.executable, repository / "launch" / "submit.py",
         "--cfg", jobs.recipe, *_QUICK, f"OUTPUT_DIR={run_dir}"],
        capture_output=True, text=True, timeout=180, env=dict(os.environ),
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    assert (run_dir / "results.json").exists()
    assert "2 process(es)" in ended.stderr


def test_training_alone_under_srun_is_refused(jobs):
    ended = subprocess.run(
        ["srun", "-n", "2", "-c", "1", sys.executable, "-m", "tsn_tsm_plugin.tools.train", "--cfg",
         jobs.recipe, f"OUTPUT_DIR={jobs.folder / 'run'}"],
        capture_output=True, text=True, timeout=180, env=dict(os.environ),
    )  # fmt: skip

    assert ended.returncode != 0
    assert "srun started 2 processes" in ended.stderr


def _waited(jobs, name):
    ended = jobs.run(
        "--cfg", jobs.recipe, "--cluster", "slurm", "--gpus-per-node", 0, "--cpus-per-task", 1, "--wait",
        *_QUICK, f"OUTPUT_DIR={jobs.folder / name}",
    )  # fmt: skip
    assert "is done; run folder" in ended.err
    return ended
