"""RestartLog: ends a job that restarts forever, too many times or without a step of progress."""

import contextlib
import itertools
import json
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.atomic_files import write_text_atomically
from tsn_tsm_plugin.errors import RunFolderError

from ..errors import LaunchError

_CHECKPOINT = re.compile(r"step_(\d+)\.pt")


def newest_step(run_dir: Path) -> int:
    """Return the training step of the newest checkpoint of a run folder, 0 without one."""
    names = (_CHECKPOINT.fullmatch(file.name) for file in (run_dir / "checkpoints").glob("step_*.pt"))
    return max((int(match[1]) for match in names if match), default=0)


class NoProgressError(LaunchError):
    """A job was started again although that is pointless."""


@dataclass(frozen=True)
class Start:
    """One start of a job.

    Attributes:
        step: Training step of the checkpoint that it went on from.
        scored: Files with scores of an unfinished test that it went on from.
        began: Seconds since 1970.
        seconds: How long it ran; 0 if its end is not known.
        left: Training step of the newest checkpoint at its end.
        error: Last line of the error that ended it; empty without one.
    """

    step: int
    scored: int
    began: float
    seconds: float = 0.0
    left: int = 0
    error: str = ""


class RestartLog:
    """Keeps the training step and the time of each start and end in a file next to the job.

    Args:
        file: JSON lines, one for each start.
        run_dir: Run folder; its newest checkpoint has the step.
    """

    def __init__(self, file: Path, run_dir: Path) -> None:
        self._file = file
        self._run_dir = run_dir

    def begin(self, restarts: int, *, max_requeues: int, patience_seconds: float) -> None:
        """Note a start; refuse it if going on is pointless.

        Progress is a later step, or more scores of the final test. The time that starts had counts, not their
        number: they may be interrupted while they start up.

        Args:
            restarts: How often the job was restarted, 0 at its first start.
            max_requeues: Restarts allowed.
            patience_seconds: Time without a new step that two or more starts may have together.

        Raises:
            NoProgressError: If one of the two limits is passed.
        """
        if restarts > max_requeues:
            raise NoProgressError(f"restarted {restarts} times (--max-requeues {max_requeues}); given up")
        step = newest_step(self._run_dir)
        scored = len(list(self._run_dir.glob("partial_scores_*/rank_*/*")))
        starts = self.starts()
        self._append({"restarts": restarts, "step": step, "scored": scored, "time": time.time()})
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
        """Note the end of the present start; a start that is killed has none, and counts as no time.

        Args:
            error: What ended it, if it was an error.
        """
        lines = error.strip().splitlines()
        with contextlib.suppress(RunFolderError):  # A full disk is reported by what it broke.
            self._append({"ended": time.time(), "left": newest_step(self._run_dir), "error": lines[-1:]})

    def starts(self) -> list[Start]:
        """Return the starts so far, oldest first."""
        found: list[Start] = []
        text = self._file.read_text(encoding="utf-8") if self._file.exists() else ""
        for entry in map(json.loads, text.splitlines()):
            if "step" in entry:
                found.append(Start(entry["step"], entry["scored"], entry["time"]))
            elif found:
                error = "".join(entry["error"])
                found[-1] = replace(
                    found[-1], seconds=entry["ended"] - found[-1].began, left=entry["left"], error=error
                )
        return found

    def _append(self, entry: dict[str, Any]) -> None:
        before = self._file.read_text(encoding="utf-8") if self._file.exists() else ""
        write_text_atomically(self._file, f"{before}{json.dumps(entry)}\n")
