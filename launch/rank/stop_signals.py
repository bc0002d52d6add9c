"""StopSignalListener: turn SIGTERM and USR2 into a flag that training reads at each step.

SLURM signals every process of a job at once, including loader workers, at any time: during imports, inside a
collective, while a checkpoint is written. So both signals are blocked in this process and in every child, and
a thread waits for the signals. Nothing is interrupted: the main thread sees a flag at its next step boundary.
If the main thread reaches no boundary in time, the waiting thread ends the process.

* USR2: the time limit is near, or a preemption was announced. Stop and requeue the job.
* SIGTERM: preemption, ``scontrol requeue``, ``scancel``, Ctrl-C or a lost peer. Stop; the sender may requeue.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import active_children, resource_tracker
from typing import NoReturn

SIGNALS = {signal.SIGUSR2, signal.SIGTERM}
_POLL_SECONDS = 0.2


class StopSignalListener:
    """Waits for the signals of a scheduler in a separate thread.

    Args:
        on_overdue: Called with this object, in the waiting thread, if the main thread did not stop in time;
            must end the process.
        is_hopeless: Returns whether a peer has failed, so that no step boundary will be reached.
    """

    def __init__(
        self, *, on_overdue: Callable[[StopSignalListener], None], is_hopeless: Callable[[], bool]
    ) -> None:
        self.received = 0
        self.is_hopeless = is_hopeless
        self._on_overdue = on_overdue
        self._grace_seconds: dict[int, float] = dict.fromkeys(SIGNALS, 0.0)
        self._left = threading.Event()
        self._taking = threading.Lock()
        # Starting the tracker unblocks SIGTERM in the calling thread (Python 3.10 to 3.12): start it first.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number in SIGNALS:
            # submitit's own handlers would requeue from inside a step. This handler also serves threads that
            # were started before the block.
            signal.signal(number, self._note)
        threading.Thread(target=self._wait, name="stop-watch", daemon=True).start()

    def requested(self) -> bool:
        """Return whether a signal has asked this process to stop."""
        return self.received != 0

    def grant(self, *, before_limit: float, after_term: float) -> None:
        """Give the main thread time after a signal to reach a step boundary and save its work.

        Args:
            before_limit: Seconds after USR2, which comes before the time limit.
            after_term: Seconds after SIGTERM; SLURM kills after its ``KillWait``, usually 30.
        """
        self._grace_seconds = {signal.SIGUSR2: before_limit, signal.SIGTERM: after_term}

    def leave(self) -> None:
        """Record that the main thread has stopped by itself and must not be ended."""
        self._left.set()

    def await_term(self, timeout_seconds: float) -> None:
        """Return when SIGTERM has come, or after the timeout."""
        deadline = time.monotonic() + timeout_seconds
        while self.received != signal.SIGTERM and time.monotonic() < deadline:
            # A signal wakes either this thread or the waiting thread.
            self._note_next(_POLL_SECONDS)

    def _note(self, number: int, frame: object = None) -> None:
        # A TERM after a USR2 wins: SLURM is ending the job already.
        if number == signal.SIGTERM or not self.received:
            self.received = number

    def _note_next(self, timeout_seconds: float) -> bool:
        """Wait for a signal and record it; return whether a signal came."""
        if hasattr(signal, "sigtimedwait"):
            found = signal.sigtimedwait(SIGNALS, timeout_seconds)
            # CPython returns uninitialised memory if a wait is interrupted just as its time ends.
            number = found.si_signo if found is not None and found.si_signo in SIGNALS else 0
        else:  # macOS
            time.sleep(timeout_seconds)
            with self._taking:
                pending = signal.sigpending() & SIGNALS
                number = signal.sigwait(pending) if pending else 0
        if number:
            self._note(number)
        return bool(number)

    def _wait(self) -> None:
        while not self._note_next(_POLL_SECONDS):
            pass
        deadline = time.monotonic() + self._grace_seconds[self.received]
        while not self._left.wait(_POLL_SECONDS):
            if self._note_next(0.0):
                deadline = min(deadline, time.monotonic() + self._grace_seconds[self.received])
            if time.monotonic() > deadline or self.is_hopeless():
                self._on_overdue(self)
        while True:
            self._note_next(_POLL_SECONDS)


def end_children() -> None:
    """Kill remaining loader workers: they block SIGTERM, so the interpreter's exit would wait for them."""
    for child in active_children():
        child.kill()


def exit_at_once(status: int) -> NoReturn:
    """End this process without the interpreter's exit: no handlers, no waiting for threads or workers."""
    end_children()
    os._exit(status)
