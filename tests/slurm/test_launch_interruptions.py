"""A job that is interrupted within an epoch ends with the curve and the weights of one that was not."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.jobs import final_state, largest_difference
from support.local_slurm import until
from support.slurm_jobs import log_of, losses, shown, wait_for_end, wait_for_state, wait_for_step

from launch.track.records import submissions_of

_STEPS_PER_EPOCH = 12


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, Path]:
    """Run folders of this module's uninterrupted runs, by shape."""
    return {}


@pytest.fixture
def reference(jobs, uninterrupted, tmp_path_factory, monkeypatch):
    """The run folder of a run on two nodes that nothing happened to."""
    if "2x1" not in uninterrupted:
        run_dir = tmp_path_factory.mktemp("uninterrupted") / "run"
        with monkeypatch.context() as patch:
            patch.setenv("TOY_STEP_SECONDS", "0")
            job = jobs.train("reference", "--nodes", 2)
            assert wait_for_end(job)["JobState"] == "COMPLETED", log_of(job)
        Path(job.run_dir).rename(run_dir)
        uninterrupted["2x1"] = run_dir
    return uninterrupted["2x1"]


def assert_went_on_as_if_nothing_had_happened(job, reference, *, restarts=1):
    ended = wait_for_end(job)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", str(restarts)), log_of(job)
    run_dir = Path(job.run_dir)
    assert losses(run_dir) == losses(reference)
    assert largest_difference(final_state(run_dir), final_state(reference)) == 0.0


def steps_of_starts(job) -> list[int]:
    file = job.job_dir / "restarts.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [entry["step"] for entry in map(json.loads, lines) if "step" in entry]


def signal_usr2(slurm, job):
    subprocess.run(["scancel", "--signal=USR2", job.job_id], check=True)


def requeue_from_outside(slurm, job):
    subprocess.run(["scontrol", "requeue", job.job_id], check=True)


def signal_term_alone(slurm, job):
    subprocess.run(["scancel", "--signal=TERM", job.job_id], check=True)


def preempt(slurm, job):
    script = ["sbatch", "-p", "urgent", "-N", "4", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 3"]
    subprocess.run(script, check=True, capture_output=True)


@pytest.mark.parametrize("interrupt", [signal_usr2, requeue_from_outside, signal_term_alone, preempt])
def test_a_job_goes_on_in_the_middle_of_an_epoch(slurm, jobs, reference, interrupt):
    job = jobs.train("run", "--nodes", 2)
    wait_for_step(job, _STEPS_PER_EPOCH + 3)

    interrupt(slurm, job)

    assert_went_on_as_if_nothing_had_happened(job, reference)
    first, second = steps_of_starts(job)
    assert first == 0
    assert second > _STEPS_PER_EPOCH + 2
    assert second % _STEPS_PER_EPOCH != 0


def test_a_job_that_is_given_a_grace_time_leaves_early_and_comes_back(slurm, jobs, reference):
    job = jobs.train("run", "--nodes", 2, "--partition", "gentle")
    wait_for_step(job, _STEPS_PER_EPOCH + 3)

    preempt(slurm, job)

    assert_went_on_as_if_nothing_had_happened(job, reference)
    assert steps_of_starts(job)[1] % _STEPS_PER_EPOCH != 0


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_loader_workers_survive_the_signal(slurm, jobs, reference, start_method):
    workers = ["DATA_LOADER.NUM_WORKERS=1", f"DATA_LOADER.START_METHOD={start_method}"]
    job = jobs.train("run", "--nodes", 2, *workers)
    wait_for_step(job, 3)

    signal_usr2(slurm, job)

    assert_went_on_as_if_nothing_had_happened(job, reference)
    assert "killed by signal" not in log_of(job)


def test_a_real_time_limit_ends_nothing(slurm, jobs, reference, monkeypatch):
    # 36 steps of 2 s do not fit into the minute that SLURM counts in.
    monkeypatch.setenv("TOY_STEP_SECONDS", "2")
    job = jobs.train("run", "--nodes", 2, "--time", 1, "--signal-delay", 10)

    restarts = int(wait_for_end(job, seconds=900)["Restarts"])

    assert restarts >= 1
    assert_went_on_as_if_nothing_had_happened(job, reference, restarts=restarts)


def test_a_node_that_dies_and_comes_back_costs_time_only(slurm, jobs, reference, monkeypatch):
    monkeypatch.setenv("TOY_STEP_SECONDS", "0.4")
    job = jobs.train("run", "--nodes", 2)
    wait_for_step(job, _STEPS_PER_EPOCH + 2)
    node = shown(job.job_id)["BatchHost"]

    slurm.kill_node(node)
    # When a node registers again, SLURM looks for a lost batch script only in jobs older than 20 s.
    time.sleep(25)
    slurm.start_node(node)

    ended = wait_for_end(job, seconds=300)
    assert ended["JobState"] == "COMPLETED", log_of(job)
    assert int(ended["Restarts"]) >= 1
    assert losses(Path(job.run_dir)) == losses(reference)
    assert largest_difference(final_state(Path(job.run_dir)), final_state(reference)) == 0.0


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_node_that_is_lost_without_the_batch_script_costs_time_only(
    slurm, jobs, reference, monkeypatch, comes_back
):
    monkeypatch.setenv("TOY_STEP_SECONDS", "0.4")
    job = jobs.train("run", "--nodes", 2)
    wait_for_step(job, _STEPS_PER_EPOCH + 2)
    assert shown(job.job_id)["BatchHost"] == "n1"

    slurm.kill_node("n2")
    if comes_back:
        time.sleep(3)
    else:
        until(lambda: "put back into the queue" in log_of(job), 180, "the launcher to miss the node")
    # SLURM itself gives a dead node up after SlurmdTimeout, and keeps the job until then.
    slurm.start_node("n2")

    ended = wait_for_end(job, seconds=300)
    assert ended["JobState"] == "COMPLETED", log_of(job)
    assert "node n2 was lost" in log_of(job)
    assert largest_difference(final_state(Path(job.run_dir)), final_state(reference)) == 0.0


def test_interruptions_during_start_up_are_no_lack_of_progress(slurm, jobs, reference, monkeypatch):
    monkeypatch.setenv("TOY_IMPORT_SECONDS", "4")
    job = jobs.train("run", "--nodes", 2)
    for restarts in range(3):
        until(lambda: shown(job.job_id).get("Restarts") == str(restarts), 180, f"start {restarts}")  # noqa: B023
        wait_for_state(job, "RUNNING")
        time.sleep(1)
        signal_usr2(slurm, job)

    assert_went_on_as_if_nothing_had_happened(job, reference, restarts=3)


def test_two_interruptions_are_as_good_as_none(slurm, jobs, reference):
    job = jobs.train("run", "--nodes", 2)
    wait_for_step(job, 3)
    signal_usr2(slurm, job)
    until(lambda: len(steps_of_starts(job)) == 2, 180, "the second start")
    wait_for_step(job, 20)
    signal_usr2(slurm, job)

    assert_went_on_as_if_nothing_had_happened(job, reference, restarts=2)


def test_a_signal_during_the_imports_is_not_lost(slurm, jobs, reference, monkeypatch):
    monkeypatch.setenv("TOY_IMPORT_SECONDS", "3")
    job = jobs.train("run", "--nodes", 2)
    wait_for_state(job, "RUNNING")
    time.sleep(1)

    signal_usr2(slurm, job)

    assert_went_on_as_if_nothing_had_happened(job, reference)


def test_a_hang_in_a_collective_is_left_by_the_last_checkpoint(slurm, jobs, reference, monkeypatch):
    monkeypatch.setenv("TOY_FAULT", "1:15:hang")
    job = jobs.train("run", "--nodes", 2, "--signal-delay", 20)
    wait_for_step(job, 14)
    time.sleep(1)

    signal_usr2(slurm, job)

    assert_went_on_as_if_nothing_had_happened(job, reference)
    assert steps_of_starts(job) == [0, _STEPS_PER_EPOCH]


def test_a_job_that_was_requeued_too_often_is_given_up_and_reports_it(slurm, jobs):
    job = jobs.train("run", "--nodes", 2, "--max-requeues", 0)
    wait_for_step(job, 2)

    signal_usr2(slurm, job)

    assert wait_for_end(job)["JobState"] == "FAILED"
    assert "requeued 0 times already (--max-requeues 0); given up" in log_of(job)


def test_a_job_that_makes_no_progress_is_given_up_and_reports_it(slurm, jobs, monkeypatch):
    monkeypatch.setenv("TOY_STEP_SECONDS", "1000")
    job = jobs.train("run", "--nodes", 2, "--signal-delay", 6)
    for restarts in (0, 1):
        until(lambda: len(steps_of_starts(job)) == restarts + 1, 180, f"start {restarts}")  # noqa: B023
        time.sleep(5)
        signal_usr2(slurm, job)

    assert wait_for_end(job)["JobState"] == "FAILED"
    assert "no progress since the last restart: both began at step 0" in log_of(job)
    assert "Traceback" not in log_of(job)


def test_cancelling_is_prompt_and_leaves_a_checkpoint(slurm, jobs):
    job = jobs.train("run", "--nodes", 2)
    wait_for_step(job, 5)

    subprocess.run(["scancel", job.job_id], check=True)

    wait_for_state(job, "CANCELLED")
    until(
        lambda: not shown(job.job_id) or bool(list(Path(job.run_dir).glob("checkpoints/step_*.pt"))),
        20,
        "a file",
    )
    assert list(Path(job.run_dir).glob("checkpoints/step_*.pt"))


@pytest.fixture
def blind_n2(jobs, tmp_path, monkeypatch):
    """Let node n2 lose the file system of the run folder."""
    (tmp_path / "sitecustomize.py").write_text("""
import os, shutil
def disk_usage(path):
    raise OSError(116, "Stale file handle")
if os.environ.get("SLURMD_NODENAME") == "n2":
    shutil.disk_usage = disk_usage
""")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")


@pytest.mark.usefixtures("blind_n2")
def test_a_node_that_fails_its_check_is_excluded_and_the_job_runs_elsewhere(slurm, jobs, reference):
    job = jobs.train("run", "--nodes", 2)

    assert_went_on_as_if_nothing_had_happened(job, reference)
    assert re.search(r"node n2 is not healthy: .* cannot be seen \(Stale file handle\)", log_of(job))
    assert "put back into the queue, without node n2" in log_of(job)
    nodes = re.findall(r"=== launch: job \d+ start \d on (\S+) ===", log_of(job))
    assert nodes[0] == "n[1-2]"
    assert nodes[1] in ("n[1,3]", "n[1,4]", "n[3-4]")


@pytest.mark.usefixtures("blind_n2")
def test_a_job_with_too_few_healthy_nodes_ends_and_runs_on_fewer(slurm, jobs, monkeypatch):
    monkeypatch.setenv("TOY_STEP_SECONDS", "0")
    job = jobs.train("run", "--nodes", 4)

    assert wait_for_end(job)["JobState"] == "FAILED"
    assert "the job needs 4 nodes, and too few are left without n2 (" in log_of(job)
    assert "put back" not in log_of(job)
    assert jobs.run("resubmit", job.run_dir, "--nodes", 2).code == 0
    smaller = submissions_of(Path(job.run_dir))[-1]
    assert wait_for_end(smaller)["JobState"] == "COMPLETED", log_of(smaller)


_SET_LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 0x41))  # SIOCSIFFLAGS: up, running
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def cut_off(jobs, tmp_path, monkeypatch):
    """Train with a node whose processes see no network, or only its loopback interface."""
    monkeypatch.setenv("TOY_STEP_SECONDS", "0")
    (tmp_path / "up.py").write_text(_SET_LOOPBACK_UP)

    def train(node, *words, loopback=True):
        up = f"'{sys.executable}' '{tmp_path / 'up.py'}'" if loopback else ""
        wrapper = tmp_path / "wrapper"
        wrapper.write_text(f"""#!/bin/bash
[ "$SLURMD_NODENAME" != {node} ] || set -- unshare -rn {up} "$@"
exec "$@"
""")
        wrapper.chmod(0o755)
        return jobs.train("run", "--container-prefix", wrapper, "SOLVER.MAX_EPOCH=1", *words)

    return train


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_a_node_that_the_other_nodes_do_not_reach_is_excluded(cut_off, node):
    job = cut_off(node, "--nodes", 3, "TRAIN.BATCH_SIZE=3")

    ended = wait_for_end(job)

    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), log_of(job)
    log = log_of(job)
    pairs = "n1 and n2, n1 and n3" if node == "n1" else "n1 and n2, n2 and n3"
    assert f"node {node} is not healthy: no connection between {pairs} within 30 s (--health-check)\n" in log
    assert f"put back into the queue, without node {node}\n" in log


def test_one_of_two_nodes_is_excluded_if_it_has_no_network_at_all(cut_off):
    job = cut_off("n2", "--nodes", 2, loopback=False)

    ended = wait_for_end(job)

    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), log_of(job)
    assert "put back into the queue, without node n2\n" in log_of(job)


def test_two_nodes_that_do_not_reach_each_other_get_one_more_start_and_the_ways_on(jobs, cut_off):
    job = cut_off("n2", "--nodes", 2, "--nodelist", "n[1-2]")

    ended = wait_for_end(job)

    assert (ended["JobState"], ended["Restarts"]) == ("FAILED", "1"), log_of(job)
    log = log_of(job)
    assert log.count("launch: started again (1 of 1 retries)") == 1
    assert log.rstrip().endswith(
        "no connection between n1 and n2 within 30 s (--health-check). The bad node is unknown. Submit the "
        "run again into its OUTPUT_DIR with `--exclude NODE`, with `--env GLOO_SOCKET_IFNAME=NAME` or with "
        "`--health-check 0`."
    )
    assert "Traceback" not in log
    elsewhere = cut_off("n2", "--nodes", 2, "--exclude", "n2")
    assert wait_for_end(elsewhere)["JobState"] == "COMPLETED", log_of(elsewhere)
