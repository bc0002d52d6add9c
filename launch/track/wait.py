"""wait_for, wait_for_all: ``--wait`` and ``tail``, show a job's log until it ends, through requeues.

SLURM and the outcomes of the ranks decide whether the job succeeded, never submitit's result files. A killed
rank leaves no result file, and submitit without accounting would wait forever.
"""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from ..cluster import slurm_client as slurm
from ..code_root import COMMAND
from ..errors import CANCELLED, DETACHED, FAILED, OK, LaunchError
from ..rank.on_failure import since_last_start
from ..rank.outcome import describe, first_failure
from .log_follower import LogFollower
from .records import Submission
from .status import State, all_finished, state_of, states_of

_LOG_SECONDS = 0.5
_FIRST_STATE_SECONDS, _LAST_STATE_SECONDS = 1.0, 15.0
# Longest pause between queries to a controller that does not answer.
_LAST_UNANSWERED_SECONDS = 120.0
_SILENT_SECONDS = 600.0
# A shared file system shows files of other machines late.
_SETTLE_SECONDS = 60.0
# Pending reasons that never resolve.
_HOPELESS = (
    "PartitionConfig", "PartitionTimeLimit", "PartitionNodeLimit", "PartitionDown", "BadConstraints",
    "DependencyNeverSatisfied", "AccountNotAllowed", "QOSNotAllowed", "AssocNotAllowed",
)  # fmt: skip
_HOPELESS_PARTS = ("Invalid", "MaxWall")


def wait_for(submission: Submission) -> int:
    """Show a job until it has ended; return the exit code of the command."""
    watch = _Watch(submission)
    with _asking_on_ctrl_c(submission) as detached:
        while not detached() and not watch.has_ended():
            time.sleep(_LOG_SECONDS)
    watch.log.show_new()
    if watch.state.may_be_alive:
        if _is_hopeless(watch.state):
            return FAILED
        say(f"detached; job {submission.job_id} goes on")
        return DETACHED
    return _verdict(submission, watch.state)


def wait_for_all(submissions: Sequence[Submission]) -> int:
    """Wait for the tasks of arrays and report how many have ended; return the exit code of the command."""
    pause, told = _FIRST_STATE_SECONDS, ""
    while True:
        pairs = states_of(submissions)
        states = [state for _, state in pairs]
        alive = sum(state.may_be_alive for state in states)
        failed = sum(state.has_failed for state in states)
        line = f"{len(states) - alive} of {len(states)} jobs have ended, {failed} failed"
        unanswered = next((state for state in states if state.is_unanswered), None)
        if unanswered is not None:
            line = f"SLURM does not answer; keeps asking ({unanswered.source})"
        if line != told:
            say(line)
            told, pause = line, _FIRST_STATE_SECONDS
        if not alive:
            break
        time.sleep(pause)
        pause = min(pause * 1.3, _LAST_STATE_SECONDS if unanswered is None else _LAST_UNANSWERED_SECONDS)
    codes = [_verdict(submission, state) for submission, state in pairs if state.has_failed]
    return max((code for code in codes if code != CANCELLED), default=max(codes, default=OK))


class _Watch:
    """Follows one job: reads its log continuously, and its state less often while nothing changes."""

    def __init__(self, submission: Submission) -> None:
        self.log = LogFollower(submission.log_file(), sys.stderr)
        self.state = State("PENDING")
        self._submission = submission
        self._pause = _FIRST_STATE_SECONDS
        self._asked = float("-inf")
        self._wrote = time.monotonic()
        self._told = ""

    def has_ended(self) -> bool:
        """Show new output; return whether the job has ended."""
        now = time.monotonic()
        if self.log.show_new():
            self._wrote = now
            if not self.state.is_unanswered:
                self._pause = _FIRST_STATE_SECONDS
        if now - self._asked < self._pause:
            return False
        before, self.state = self.state, state_of(self._submission)
        self._asked = time.monotonic()
        if self.state.is_unanswered:
            self._pause = min(self._pause * 2, _LAST_UNANSWERED_SECONDS)
            say(f"SLURM does not answer, asks again in {self._pause:.0f} s ({self.state.source})")
            return False
        self._pause = min(self._pause * 1.3, _LAST_STATE_SECONDS)
        if not self.state.is_alive:
            return True
        if before.is_unanswered:
            say(f"SLURM answers again: job {self._submission.job_id} is {self.state.state}")
            self._pause = _FIRST_STATE_SECONDS
        else:
            self._tell(before)
        return _is_hopeless(self.state)

    def _tell(self, before: State) -> None:
        state, job = self.state, f"job {self._submission.job_id}"
        if state.restarts > before.restarts:
            say(f"{job} was requeued ({state.restarts} times so far) and goes on in its run folder")
        reason = f" ({state.reason})" if state.reason else ""
        line = f"{job} {state.state}{reason}{_estimate(self._submission, state)}"
        if state.state != "RUNNING" and line != self._told:
            say(line)
        self._told = line
        if _is_hopeless(state):
            job_id = self._submission.job_id
            say(f"will never start ({state.reason}): `scancel {job_id}` and change the request")
        if state.state == "RUNNING" and time.monotonic() - self._wrote > _SILENT_SECONDS:
            say(f"no output for {_SILENT_SECONDS / 60:.0f} min: it may be dead although its state is RUNNING")
            self._wrote = time.monotonic()


def _estimate(submission: Submission, state: State) -> str:
    """Return SLURM's estimate of the start of a waiting job, or an empty text."""
    if state.state != "PENDING" or not slurm.can_ask():
        return ""
    try:
        start = slurm.ask("squeue", "-h", "--start", "-j", submission.job_id, "-o", "%S").stdout.strip()
    except LaunchError:
        return ""
    return f", to start at about {start}" if start[:1].isdigit() else ""


def _is_hopeless(state: State) -> bool:
    return state.state == "PENDING" and (
        state.reason in _HOPELESS or any(part in state.reason for part in _HOPELESS_PARTS)
    )


def _verdict(submission: Submission, state: State) -> int:
    deadline = time.monotonic() + _SETTLE_SECONDS
    while state.state in ("COMPLETED", "FAILED") and state.exit_code in ("0:0", ""):
        # SLURM reports success: wait until result files are visible (NFS delay).
        if all_finished(submission):
            say(f"job {submission.job_id} is done; run folder {submission.run_dir}")
            return OK
        if time.monotonic() > deadline or submission.backend != "slurm":
            break
        time.sleep(_LOG_SECONDS)
    if state.state == "CANCELLED":
        say(f"job {submission.job_id} was cancelled; the same command goes on from the newest checkpoint")
        return CANCELLED
    say(f"job {submission.job_id} ended as {state.state}{meaning_of(state)}; run folder {submission.run_dir}")
    failure = first_failure(submission.job_dir, since_last_start(submission.log_file()))
    if failure is not None:
        say(f"{describe(failure)}\n  log: {submission.log_file(failure.rank)}")
    elif not submission.log_file().exists():
        say(f"there is no log: the node did not see {submission.folder}. Is it on a shared file system?")
    return FAILED


def meaning_of(state: State) -> str:
    """Return the meaning of a final state and the remedy; empty if the state needs no explanation."""
    if state.state == "TIMEOUT":
        return ": the time limit came before a step ended; raise --signal-delay"
    if state.state == "PREEMPTED":
        return (
            ": SLURM gave its nodes to another job and does not requeue it (PreemptMode=CANCEL); "
            f"`{COMMAND} resubmit RUN_FOLDER` goes on from the newest checkpoint"
        )
    if state.state == "NODE_FAIL":
        return ": a node was lost; the same command goes on from the newest checkpoint"
    if state.state == "OUT_OF_MEMORY" or state.exit_code.startswith("137"):
        return ": out of memory, most likely; ask for more with --mem"
    if state.exit_code == "0:53":
        return ": the node could not open the log; the run folder is not visible there"
    if state.reason and state.state == "FAILED":
        return f" ({state.reason}, exit code {state.exit_code})"
    return ""


@contextlib.contextmanager
def _asking_on_ctrl_c(submission: Submission) -> Iterator[Callable[[], bool]]:
    """Ask at Ctrl-C whether to cancel the job or to let it run; a second Ctrl-C lets it run."""
    presses = 0

    def pressed(number: int, frame: object) -> None:
        nonlocal presses
        presses += 1

    def detached() -> bool:
        if presses == 1 and sys.stdin.isatty():
            answer = input(f"\nCancel job {submission.job_id}, or leave it running? [c/L] ")
            if answer.strip().lower().startswith("c"):
                slurm.ask("scancel", submission.job_id)
                return False
        return presses > 0

    with signals_sent_to(pressed, signal.SIGINT):
        yield detached


@contextlib.contextmanager
def signals_sent_to(handler: Callable[[int, object], None], *numbers: int) -> Iterator[None]:
    """Handle signals by ``handler``, and as before after the context."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def say(text: str) -> None:
    """Print a line of the launcher itself."""
    print(f"launch: {text}", file=sys.stderr, flush=True)
