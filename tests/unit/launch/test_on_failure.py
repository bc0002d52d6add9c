"""The last lines of a batch script whose srun failed."""

import pytest

from launch.rank import on_failure
from launch.rank.outcome import STOPPED, UNHEALTHY, write_outcome


@pytest.fixture
def failed(tmp_path, monkeypatch):
    """Run the end of a failed batch script on SLURM's played programs; return what these were asked."""
    (tmp_path / "3").mkdir()
    asked = tmp_path / "asked"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name, value in {"SLURM_JOB_ID": "3", "SLURM_JOB_NUM_NODES": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(on_failure, "_REQUEUE_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(on_failure.signal, "signal", lambda number, handler: None)

    def run(*, excluded="(null)", sbatch="true", requeue="true", retries=0):
        shown = f"JobId=3 JobState=RUNNING ExcNodeList={excluded} NodeList=n[1-2]"
        scontrol = f'case $1 in show) echo "{shown}";; requeue) {requeue};; esac'
        for name, script in {"scontrol": scontrol, "sbatch": sbatch}.items():
            (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "{asked}"\n{script}\n')
            (tmp_path / name).chmod(0o755)
        on_failure.main(tmp_path, retries, 20, "/runs/my run", "1")
        return [line for line in asked.read_text().splitlines() if "show" not in line]

    return run


@pytest.fixture
def unhealthy(failed, tmp_path):
    """A job whose rank 1 found its node n2 to be unhealthy."""
    write_outcome(tmp_path / "3", 1, UNHEALTHY, error="node n2 is not healthy: no room", node="n2")
    return failed


@pytest.mark.parametrize(("before", "after"), [("(null)", "n2"), ("n[7-8]", "n[7-8],n2")])
def test_a_job_is_requeued_without_the_node_and_those_excluded_before(
    unhealthy, tmp_path, capsys, before, after
):
    assert unhealthy(excluded=before) == [
        f"sbatch --test-only --exclude={after} {tmp_path}/3_submission.sh",
        "scontrol requeue 3",
        f"scontrol update JobId=3 ExcNodeList={after}",
    ]
    assert "launch: put back into the queue, without node n2\n" in capsys.readouterr().out


def test_a_job_with_too_few_healthy_nodes_ends_with_the_reason_and_the_remedy(unhealthy, capsys):
    refusal = "allocation failure: Requested node configuration is not available"

    assert len(unhealthy(sbatch=f"echo '{refusal}' >&2; exit 1")) == 1

    out = capsys.readouterr().out
    assert "put back" not in out
    assert (
        "launch: the job needs 2 nodes, and too few are left without n2 (Requested node configuration is "
        "not available). Wait until they are repaired, or add `--nodes N` for fewer nodes with the same "
        "global batch. By hand: `python launch/submit.py resubmit '/runs/my run'` goes on from the newest "
        "checkpoint\n"
    ) in out


def test_a_limit_on_the_jobs_of_an_account_does_not_keep_a_job_out_of_the_queue(unhealthy):
    limit = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy"

    assert "scontrol requeue 3" in unhealthy(sbatch=f"echo '{limit}' >&2; exit 1")


def test_a_job_whose_nodes_fail_their_check_again_and_again_is_given_up(unhealthy, capsys):
    for _ in range(4):
        assert "scontrol requeue 3" in unhealthy()
    asked = unhealthy()

    assert asked.count("scontrol requeue 3") == 4
    assert (
        "launch: nodes failed their check in 5 starts, so the job may be at fault" in capsys.readouterr().out
    )


@pytest.mark.parametrize(("retries", "starts"), [(0, 1), (2, 2)])
def test_a_job_whose_bad_node_is_unknown_is_started_again_once_or_as_often_as_wanted(
    failed, tmp_path, capsys, retries, starts
):
    write_outcome(tmp_path / "3", 0, UNHEALTHY, error="no connection between n1 and n2. Use X.", node="")

    for _ in range(starts + 1):
        asked = failed(retries=retries)

    assert asked == ["scontrol requeue 3"] * starts
    out = capsys.readouterr().out
    assert f"launch: started again (1 of {starts} retries)\n" in out
    assert out.endswith("first error: rank 0\n  no connection between n1 and n2. Use X.\n")


def test_a_saved_job_names_the_command_that_resumes_it_if_the_controller_stays_silent(
    failed, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(on_failure, "_REQUEUE_SECONDS", 0.0)
    write_outcome(tmp_path / "3", 0, STOPPED)

    failed(requeue="echo 'error: Unable to contact slurm controller (connect failure)' >&2; exit 1")

    out = capsys.readouterr().out
    assert "the work is saved, but the job was not requeued" in out
    assert "By hand: `python launch/submit.py resubmit '/runs/my run'` goes on from the newest" in out
