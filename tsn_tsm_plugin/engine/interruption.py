"""TrainingStopped, StopSignals: stop a run at a step boundary, on all ranks.

Training polls a function, which may react to Ctrl-C, a scheduler's signal or a deadline. All ranks stop
after the same step, so the checkpoint is consistent.
"""

import contextlib
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from tsn_tsm_plugin.data.signal_safe_loader import RUN_SIGNALS

StopRequested = Callable[[], bool]


class TrainingStopped(RuntimeError):  # noqa: N818
    """Training stopped on request; its checkpoint is written and the run can resume.

    Attributes:
        step: Optimizer steps in the checkpoint.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after step {step}; the same command goes on from there")
        self.step = step


class EvaluationStopped(RuntimeError):  # noqa: N818
    """An evaluation stopped on request, without results."""


def never() -> bool:
    """Request no stop."""
    return False


class StopSignals:
    """Catches signals and remembers the first; a second Ctrl-C interrupts at once.

    Forked processes inherit the handlers, which do nothing there. Only the run itself reacts to Ctrl-C, which
    the terminal sends to every process.

    Attributes:
        received: Number of the first signal; 0 before the first signal.
        grace_seconds: Time until the run must reach a step boundary, in seconds. Otherwise the process
            exits without a new checkpoint, before a scheduler's SIGKILL.
    """

    def __init__(self, grace_seconds: float) -> None:
        self.received = 0
        self.grace_seconds = grace_seconds
        self._pid = os.getpid()
        self._deadline: threading.Timer | None = None

    def requested(self) -> bool:
        """Return whether a signal was received."""
        return self.received != 0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.received:
            self.received = number
            if math.isfinite(self.grace_seconds):
                self._deadline = threading.Timer(self.grace_seconds, self._give_up)
                self._deadline.daemon = True
                self._deadline.start()

    def _give_up(self) -> None:
        print(
            f"Signal {self.received} came {self.grace_seconds:g} s ago and no step has ended since "
            "(TRAIN.STOP_GRACE_SECONDS): leaving without a new checkpoint. The same command goes on from the "
            "newest one.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(128 + self.received)

    def close(self) -> None:
        """Cancel the deadline, because the run has ended."""
        if self._deadline is not None:
            self._deadline.cancel()


@contextlib.contextmanager
def catch_stop_signals(*, grace_seconds: float = math.inf) -> Iterator[StopSignals]:
    """Turn Ctrl-C, SIGTERM and the user signals into a request to stop.

    The previous handlers are restored at the end. Schedulers announce a time limit or a preemption by these
    signals.

    Outside the main thread Python handles no signals, so nothing is ever requested.

    Args:
        grace_seconds: See :class:`StopSignals`.
    """
    signals = StopSignals(grace_seconds)
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {number: signal.signal(number, signals._handle) for number in RUN_SIGNALS}
    try:
        yield signals
    finally:
        signals.close()
        for number, handler in before.items():
            signal.signal(number, handler)
