"""State: the state of a submission from SLURM, or from the run folder if SLURM does not know."""

import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tsn_tsm_plugin.safe_text import aligned_table

from ..cluster import slurm_client as slurm
from ..rank.outcome import FAILURES, FINISHED, STOPPED, read_outcomes, was_cancelled
from ..rank.restart_guard import RestartLog, newest_step
from .records import Submission

_ENDED_WELL = "COMPLETED"
_FORGOTTEN = "from the run folder: SLURM has forgotten the job"
_NOT_ASKED = "from the run folder: no scontrol on PATH"


@dataclass(frozen=True)
class State(slurm.JobState):
    """A submission at one moment.

    ``state`` is SLURM's; ``RUNNING``, ``COMPLETED``, ``FAILED`` or ``UNKNOWN`` for local jobs and jobs that
    SLURM has forgotten; ``UNSUBMITTED`` for a record without a job.

    Attributes:
        source: Why the state is from the run folder instead of SLURM; empty for SLURM's states.
        is_unanswered: Whether SLURM did not answer, so that the job may be alive.
    """

    source: str = ""
    is_unanswered: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether the job waits or runs."""
        return self.state in slurm.ALIVE

    @property
    def may_be_alive(self) -> bool:
        """Whether the job waits or runs, or its state is not known."""
        return self.is_alive or self.is_unanswered

    @property
    def has_failed(self) -> bool:
        """Whether the job ended without its work done."""
        return not self.may_be_alive and self.state != _ENDED_WELL

    def in_words(self) -> str:
        """Return the state with its reason and, unless SLURM is the source, its source."""
        notes = [note for note in (self.reason, self.source) if note]
        return self.state + (f" ({'; '.join(notes)})" if notes else "")


def state_of(submission: Submission) -> State:
    """Return the state of one submission."""
    return states_of([submission])[0][1]


def states_of(submissions: Iterable[Submission]) -> list[tuple[Submission, State]]:
    """Return submissions with their states, with one query to SLURM for each array."""
    records = list(submissions)
    ids = [record.job_id for record in records if record.backend == "slurm" and record.job_id]
    told: dict[str, slurm.JobState] = {}
    why_unknown = _FORGOTTEN if slurm.can_ask() else _NOT_ASKED
    is_unanswered = False
    if ids and slurm.can_ask():
        try:
            told = slurm.job_states(ids)
        except slurm.NoAnswerError as error:
            why_unknown, is_unanswered = f"from the run folder: {error}", True
    return [
        (record, _state(record, told.get(record.job_id), why_unknown, is_unanswered)) for record in records
    ]


def _state(submission: Submission, told: slurm.JobState | None, source: str, is_unanswered: bool) -> State:
    if not submission.job_id:
        return State("UNSUBMITTED")
    if told is not None and told.state:
        if told.state == _ENDED_WELL and not all_finished(submission):
            told = replace(told, state="FAILED", reason="not every rank left a result")
        return State(**asdict(told))
    is_local = submission.backend == "local"
    if is_local and _is_running(submission):
        return State("RUNNING")
    source = "" if is_local else source
    if all_finished(submission):
        return State(_ENDED_WELL, source=source)
    if is_unanswered:
        return State("UNKNOWN", source=source, is_unanswered=not is_local)
    endings = {outcome.ending for outcome in read_outcomes(submission.job_dir)}
    if endings & set(FAILURES):
        return State("FAILED", source=source)
    if STOPPED in endings or was_cancelled(submission.job_dir):
        return State("CANCELLED", source=source)
    return State("FAILED" if is_local else "UNKNOWN", source=source)


def all_finished(submission: Submission) -> bool:
    """Return whether every rank of a job left a result."""
    endings = [outcome.ending for outcome in read_outcomes(submission.job_dir)]
    return endings.count(FINISHED) == submission.num_ranks


def table(submissions: list[Submission]) -> str:
    """Return one line for each submission: job, state, restarts, step, age of the last output, run folder."""
    head = ("job", "kind", "state", "restarts", "step", "last output", "run folder")
    rows = [head] + [
        (
            record.job_id or "-",
            record.kind,
            state.in_words(),
            str(state.restarts),
            _step_of(record, state),
            age_of_output(record),
            record.run_dir,
        )
        for record, state in states_of(submissions)
    ]
    return aligned_table(rows)


def _step_of(submission: Submission, state: State) -> str:
    """Return the newest step that a job has saved; ``-`` if this job saved none."""
    run_dir = Path(submission.run_dir)
    starts = RestartLog(submission.job_dir / "restarts.jsonl", run_dir).starts()
    if not starts:
        return "-"
    newest = newest_step(run_dir) if state.may_be_alive else max(start.left for start in starts)
    return str(newest) if newest > starts[0].step else "-"


def age_of_output(submission: Submission) -> str:
    """Return the age of rank 0's last output: a job that SLURM reports as running may be dead."""
    log = submission.log_file()
    if not submission.job_id or not log.exists():
        return "-"
    seconds = max(time.time() - log.stat().st_mtime, 0.0)
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"


def _is_running(submission: Submission) -> bool:
    """Return whether a local job's controller runs; another process may have its process id by now."""
    if Path("/proc/self").exists():
        file = Path(f"/proc/{submission.job_id}/cmdline")
        command = file.read_text(errors="replace") if file.exists() else ""
    else:
        listed = ["ps", "-ww", "-o", "command=", "-p", submission.job_id]
        command = subprocess.run(listed, capture_output=True, text=True).stdout
    return submission.folder in command
