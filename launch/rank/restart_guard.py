"""Ends a job that restarts for ever: too many times, or without a step of progress in between."""

import json
import re
import time
from pathlib import Path

from ..errors import LaunchError

_CHECKPOINT = re.compile(r"step_(\d+)\.pt")


def newest_step(run_dir: Path) -> int:
    """Return the training step of the newest checkpoint of a run folder, 0 without one."""
    names = (_CHECKPOINT.fullmatch(file.name) for file in (run_dir / "checkpoints").glob("step_*.pt"))
    return max((int(match[1]) for match in names if match), default=0)


class NoProgressError(LaunchError):
    """A job was started again although that is pointless."""


class RestartLog:
    """Keeps, in a file next to the job, at which training step each start of it began.

    Args:
        file: JSON lines, one for each start.
        run_dir: Run folder, whose newest checkpoint tells the step.
    """

    def __init__(self, file: Path, run_dir: Path) -> None:
        self._file = file
        self._run_dir = run_dir

    def begin(self, restarts: int, *, max_requeues: int, must_progress: bool) -> None:
        """Note a start; refuse it where going on is pointless.

        Args:
            restarts: How often the job was restarted, 0 at its first start.
            max_requeues: Restarts allowed.
            must_progress: Refuse a second restart from the step that the first one began at.

        Raises:
            NoProgressError: If one of the two limits is passed.
        """
        if restarts > max_requeues:
            raise NoProgressError(f"restarted {restarts} times (--max-requeues {max_requeues}); given up")
        step = newest_step(self._run_dir)
        before = self._read()
        self._append({"restarts": restarts, "step": step, "time": time.time()})
        previous = before[-1] if before else None
        if must_progress and previous and previous["restarts"] >= 1 and previous["step"] == step:
            raise NoProgressError(
                f"no progress since the last restart: both began at step {step}. A step and a checkpoint "
                f"must fit between two interruptions: raise --time or --signal-delay, or save more often."
            )
        if restarts:
            print(f"launch: restart {restarts}, going on from step {step}", flush=True)

    def _read(self) -> list[dict[str, float]]:
        if not self._file.exists():
            return []
        return [json.loads(line) for line in self._file.read_text(encoding="utf-8").splitlines()]

    def _append(self, entry: dict[str, float]) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
