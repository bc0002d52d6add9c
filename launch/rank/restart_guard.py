"""RestartLog: end a job that restarts too often, or without a new training step."""

import contextlib
import itertools
import json
import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tsn_tsm_plugin.atomic_files import write_text_atomically
from tsn_tsm_plugin.errors import RunFolderError

from ..errors import LaunchError

_CHECKPOINT = re.compile(r"step_(\d+)\.pt")


def newest_step(run_dir: Path) -> int:
    """Return the training step of the newest checkpoint of a run folder, 0 without one."""
    names = (_CHECKPOINT.fullmatch(file.name) for file in (run_dir / "checkpoints").glob("step_*.pt"))
    return max((int(match[1]) for match in names if match), default=0)


class NoProgressError(LaunchError):
    """A job was started again although another start is pointless."""


@dataclass(frozen=True)
class Start:
    """One start of a job.

    Attributes:
        step: Training step of the checkpoint that the start resumed from.
        scored: Number of files with scores of an unfinished test that the start resumed from.
        began: Seconds since 1970.
        seconds: Duration of the start; 0 if its end is not known.
        left: Training step of the newest checkpoint at the end.
        error: Last line of the error that ended the start; empty without an error.
    """

    step: int
    scored: int
    began: float
    seconds: float = 0.0
    left: int = 0
    error: str = ""


class RestartLog:
    """Records the training step and the time of each start and end in a file next to the job.

    Args:
        file: JSON lines, one for each start.
        run_dir: Run folder; its newest checkpoint has the step.
    """

    def __init__(self, file: Path, run_dir: Path) -> None:
        self._file = file
        self._run_dir = run_dir

    def begin(self, restarts: int, *, max_requeues: int, patience_seconds: float) -> None:
        """Record a start; refuse the start if it is pointless.

        Progress is a later step, or more scores of the final test. Starts without progress are limited by
        their total time, not their number: a job may be interrupted while it starts up.

        Args:
            restarts: How often the job was restarted, 0 at its first start.
            max_requeues: Restarts allowed.
            patience_seconds: Largest total time of two or more starts without a new step.

        Raises:
            NoProgressError: If one of the two limits is exceeded.
        """
        if restarts > max_requeues:
            raise NoProgressError(f"restarted {restarts} times (--max-requeues {max_requeues}); given up")
        step = newest_step(self._run_dir)
        scored = len(list(self._run_dir.glob("partial_scores_*/rank_*/*")))
        starts = self.starts()
        self._write([*starts, Start(step, scored, time.time())])
        idle = list(itertools.takewhile(lambda s: (s.step, s.scored) == (step, scored), reversed(starts)))
        seconds = sum(start.seconds for start in idle)
        if len(idle) > 1 and seconds >= patience_seconds:
            error = next((f" The last error was: {start.error}." for start in idle if start.error), "")
            raise NoProgressError(
                f"no progress since the last restart: both began at step {step}, and {len(idle)} starts had "
                f"{seconds:.0f} s.{error} A step and a checkpoint must fit between two interruptions: raise "
                "--time or --signal-delay, or save more often."
            )
        if restarts:
            print(f"launch: restart {restarts}, going on from step {step}", flush=True)

    def end(self, error: str = "") -> None:
        """Record the end of this start; a killed start records no end, and its time counts as 0.

        Args:
            error: The error that ended the start, if any.
        """
        starts = self.starts()
        if starts:
            starts[-1] = replace(
                starts[-1],
                seconds=time.time() - starts[-1].began,
                left=newest_step(self._run_dir),
                error="".join(error.strip().splitlines()[-1:]),
            )
            with contextlib.suppress(RunFolderError):  # The work itself reports a full disk.
                self._write(starts)

    def starts(self) -> list[Start]:
        """Return the starts so far, oldest first."""
        text = self._file.read_text(encoding="utf-8") if self._file.exists() else ""
        return [Start(**json.loads(line)) for line in text.splitlines()]

    def _write(self, starts: Iterable[Start]) -> None:
        lines = (f"{json.dumps(asdict(start))}\n" for start in starts)
        write_text_atomically(self._file, "".join(lines))
