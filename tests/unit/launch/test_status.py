import os
import subprocess
import sys

import pytest

from launch.cluster.slurm_client import NoAnswerError
from launch.rank.outcome import FINISHED, RAISED, STOPPED, note_cancellation, write_outcome
from launch.rank.restart_guard import RestartLog
from launch.track.records import Submission, find_submission, submissions_below
from launch.track.status import State, state_of, table
from launch.track.wait import meaning_of


def submission(folder, *, job_id="", backend="local", run="run", kind="train"):
    run_dir = folder / run
    record = Submission(
        folder=str(run_dir / "launch" / kind), kind=kind, name="toy", backend=backend, run_dir=str(run_dir),
        num_nodes=1, num_ranks=2, command=["submit.py"],
    )  # fmt: skip
    record.write()
    return record.with_job(job_id) if job_id else record


def test_a_record_whose_job_never_came_to_be_reports_it(tmp_path):
    assert state_of(submission(tmp_path)).state == "UNSUBMITTED"


def test_a_local_job_runs_while_its_own_process_does_and_not_another_with_its_number(tmp_path):
    record = submission(tmp_path, job_id="1")
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    own = subprocess.Popen([*sleeper, record.folder])
    other = subprocess.Popen(sleeper)

    states = [state_of(record.with_job(str(process.pid))).state for process in (own, other)]
    for process in (own, other):
        process.kill()
        process.wait()

    assert states == ["RUNNING", "FAILED"]


def test_a_job_is_completed_when_every_rank_has_finished(tmp_path):
    record = submission(tmp_path, job_id="999999999")
    write_outcome(record.job_dir, 0, FINISHED)
    assert state_of(record).state == "FAILED"

    write_outcome(record.job_dir, 1, FINISHED)
    assert state_of(record).state == "COMPLETED"


def test_slurms_word_counts_unless_a_result_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("launch.cluster.slurm_client.can_ask", lambda: True)
    record = submission(tmp_path, job_id="7", backend="slurm")
    told = "JobId=7 JobState=COMPLETED Reason=None Restarts=2 ExitCode=0:0"
    monkeypatch.setattr(
        "launch.cluster.slurm_client.ask",
        lambda *words, **more: subprocess.CompletedProcess(words, 0, stdout=told, stderr=""),
    )
    write_outcome(record.job_dir, 0, FINISHED)
    state = state_of(record)
    assert (state.state, state.reason, state.restarts) == ("FAILED", "not every rank left a result", 2)

    write_outcome(record.job_dir, 1, FINISHED)
    assert state_of(record).state == "COMPLETED"


def test_a_job_that_slurm_forgot_is_judged_by_what_its_ranks_left(tmp_path, no_slurm):
    record = submission(tmp_path, job_id="7", backend="slurm")
    assert state_of(record).state == "UNKNOWN"

    write_outcome(record.job_dir, 1, RAISED, error="boom")
    assert state_of(record).state == "FAILED"


def test_submissions_are_found_by_id_by_array_and_by_folder(tmp_path):
    first = submission(tmp_path, job_id="12_0", run="a")
    second = submission(tmp_path, job_id="12_1", run="b")
    evaluation = submission(tmp_path, job_id="13", run="b", kind="evaluate")

    assert find_submission("12_0", tmp_path) == [first]
    assert find_submission("12", tmp_path) == [first, second]
    assert find_submission(str(tmp_path / "b"), tmp_path) == [evaluation, second]
    assert len(submissions_below(tmp_path)) == 3


def test_the_table_names_job_state_and_run_folder(tmp_path):
    record = submission(tmp_path, job_id=str(os.getpid()))
    for rank in range(2):
        write_outcome(record.job_dir, rank, FINISHED)

    head, row = table([record]).splitlines()

    assert head.split() == ["job", "kind", "state", "restarts", "step", "last", "output", "run", "folder"]
    assert row.split() == [record.job_id, "train", "COMPLETED", "0", "-", "-", record.run_dir]


def test_a_job_that_the_user_ended_is_cancelled_and_not_failed(tmp_path):
    record = submission(tmp_path, job_id="999999999")
    note_cancellation(record.job_dir)

    assert state_of(record).state == "CANCELLED"


def test_a_job_that_stopped_as_asked_is_cancelled(tmp_path):
    record = submission(tmp_path, job_id="999999999")
    write_outcome(record.job_dir, 0, STOPPED)

    assert state_of(record).state == "CANCELLED"


@pytest.mark.parametrize(("left", "shown"), [(None, "-"), (0, "-"), (7, "7")])
def test_an_attempt_is_given_the_steps_that_it_made_itself(tmp_path, left, shown):
    record = submission(tmp_path, job_id="999999999")
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir()
    log = RestartLog(record.job_dir / "restarts.jsonl", tmp_path / "run")
    if left is not None:
        log.begin(0, max_requeues=1, patience_seconds=1.0)
        if left:
            (checkpoints / f"step_{left:08d}.pt").touch()
        log.end()
    (checkpoints / "step_00000030.pt").touch()  # From a later attempt.

    assert table([record]).splitlines()[1].split()[4] == shown


def test_a_controller_that_does_not_answer_is_no_end(tmp_path, monkeypatch):
    def ask(*words, **more):
        raise NoAnswerError("squeue did not answer in 30 s.")

    monkeypatch.setattr("launch.cluster.slurm_client.can_ask", lambda: True)
    monkeypatch.setattr("launch.cluster.slurm_client.ask", ask)
    record = submission(tmp_path, job_id="7", backend="slurm")

    state = state_of(record)

    assert (state.is_alive, state.may_be_alive, state.has_failed) == (False, True, False)
    assert "UNKNOWN (from the run folder: squeue did not answer in 30 s.)" in table([record])


def test_the_end_of_a_job_that_is_preempted_for_good_names_the_way_on():
    assert "`python launch/submit.py resubmit RUN_FOLDER` goes on" in meaning_of(State("PREEMPTED"))
