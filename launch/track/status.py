"""In what state a submission is, from SLURM where it answers, else from what the ranks left behind."""

import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..cluster import slurm_client as slurm
from ..rank.outcome import FAILURES, FINISHED, read_outcomes
from ..rank.restart_guard import newest_step
from .records import Submission

_ENDED_WELL = "COMPLETED"


@dataclass(frozen=True)
class State:
    """A submission at one moment.

    Attributes:
        state: SLURM's word; for local jobs and forgotten ones ``RUNNING``, ``COMPLETED``, ``FAILED`` or
            ``UNKNOWN``; ``UNSUBMITTED`` for a record whose job never came to be.
        reason: Why it waits or ended, in SLURM's words.
        restarts: Times it was requeued.
        exit_code: SLURM's ``status:signal``.
    """

    state: str
    reason: str = ""
    restarts: int = 0
    exit_code: str = ""

    @property
    def is_alive(self) -> bool:
        """Tell whether the job waits or runs."""
        return self.state in slurm.ALIVE

    @property
    def has_failed(self) -> bool:
        """Tell whether the job ended without its work done."""
        return not self.is_alive and self.state != _ENDED_WELL


def state_of(submission: Submission) -> State:
    """Return the state of one submission."""
    return states_of([submission])[0]


def states_of(submissions: Iterable[Submission]) -> list[State]:
    """Return the states of submissions, with one question to SLURM for each array."""
    records = list(submissions)
    ids = [record.job_id for record in records if record.where == "slurm" and record.job_id]
    told = slurm.job_states(ids) if ids and slurm.can_ask() else {}
    return [_state(record, told.get(record.job_id, slurm.JobState())) for record in records]


def _state(submission: Submission, told: slurm.JobState) -> State:
    if not submission.job_id:
        return State("UNSUBMITTED")
    if told.state:
        ended_early = told.state == _ENDED_WELL and not all_finished(submission)
        state = "FAILED" if ended_early else told.state
        reason = "not every rank left a result" if ended_early else told.reason
        return State(state, reason, told.restarts, told.exit_code)
    if submission.where == "local" and _is_running(submission):
        return State("RUNNING")
    if all_finished(submission):
        return State(_ENDED_WELL)
    endings = {outcome.ending for outcome in read_outcomes(submission.job_dir)}
    return State("FAILED" if endings & set(FAILURES) or submission.where == "local" else "UNKNOWN")


def all_finished(submission: Submission) -> bool:
    """Tell whether every rank of a job left a result."""
    endings = [outcome.ending for outcome in read_outcomes(submission.job_dir)]
    return endings.count(FINISHED) == submission.num_ranks


def table(submissions: list[Submission]) -> str:
    """Return one line for each submission: job, state, restarts, step, age of the last output, run folder."""
    head = ("job", "kind", "state", "restarts", "step", "last output", "run folder")
    rows = [head] + [
        (
            record.job_id or "-",
            record.kind,
            state.state + (f" ({state.reason})" if state.reason else ""),
            str(state.restarts),
            str(newest_step(Path(record.run_dir)) or "-"),
            age_of_output(record),
            record.run_dir,
        )
        for record, state in zip(submissions, states_of(submissions), strict=True)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def age_of_output(submission: Submission) -> str:
    """Return how long ago rank 0 wrote something; a job may be called running and be dead."""
    log = submission.log_file()
    if not submission.job_id or not log.exists():
        return "-"
    seconds = max(time.time() - log.stat().st_mtime, 0.0)
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"


def _is_running(submission: Submission) -> bool:
    """Tell whether a local job's controller lives; its process id alone may belong to another by now."""
    if Path("/proc/self").exists():
        file = Path(f"/proc/{submission.job_id}/cmdline")
        command = file.read_text(errors="replace") if file.exists() else ""
    else:
        listed = ["ps", "-ww", "-o", "command=", "-p", submission.job_id]
        command = subprocess.run(listed, capture_output=True, text=True).stdout
    return submission.folder in command
