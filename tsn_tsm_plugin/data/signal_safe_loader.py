"""SignalSafeDataLoader: a DataLoader with workers that the run ends, not a signal.

A terminal sends Ctrl-C to every process of a command. A scheduler sends its warning or SIGTERM to every
process of a job. The run responds with a checkpoint at the next step. A worker that ended at once would lose
batches. PyTorch would also raise an exception at an arbitrary line of the run.
"""

import functools
import multiprocessing
import os
import signal
import threading
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import DataLoader, Dataset

from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)

RUN_SIGNALS = frozenset(
    number for number in signal.Signals if number.name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
)
"""Signals that ask a run to stop, if the system has them; Windows lacks the last two."""

_CAN_HOLD_BACK = hasattr(signal, "pthread_sigmask")
# A parent also ends its workers by SIGTERM. A worker can hold SIGTERM back only if the system reports the
# sender; macOS and Windows do not.
_CAN_TELL_SENDER = hasattr(signal, "sigwaitinfo")
_HELD_BACK = RUN_SIGNALS if _CAN_TELL_SENDER else RUN_SIGNALS - {signal.SIGTERM}


class SignalSafeDataLoader(DataLoader):
    """A ``DataLoader`` whose workers hold back Ctrl-C, SIGUSR1, SIGUSR2 and SIGTERM, except their parent's.

    A worker ends when its parent has ended, as all PyTorch workers do. On macOS any SIGTERM ends a worker;
    on Windows Ctrl-C also ends a worker, with a warning. A fork server that other code started earlier does
    not hold signals back. If a worker dies, the request for the next batch raises, not an arbitrary line.

    Attributes:
        workers: The worker processes of the newest iteration.
    """

    def __init__(self, dataset: Dataset, **kwargs: Any) -> None:
        super().__init__(dataset, worker_init_fn=_end_for_parent_only, **kwargs)
        self.workers: list[BaseProcess] = []
        if self.num_workers and not _CAN_HOLD_BACK:
            _warn_of_ctrl_c()

    def __iter__(self) -> Any:
        if not _CAN_HOLD_BACK:
            return super().__iter__()
        children = multiprocessing.active_children()
        in_main_thread = threading.current_thread() is threading.main_thread()
        on_child_exit = signal.getsignal(signal.SIGCHLD)
        batches = self._start()
        if in_main_thread and signal.getsignal(signal.SIGCHLD) != on_child_exit:
            # PyTorch's handler would raise at an arbitrary line of the run, even in the middle of a step.
            signal.signal(signal.SIGCHLD, on_child_exit or signal.SIG_DFL)
        new = [child for child in multiprocessing.active_children() if child not in children]
        self.workers = new or self.workers  # Persistent workers already existed.
        return batches

    def _start(self) -> Any:
        context = self.multiprocessing_context
        if context is not None and context.get_start_method() != "fork":
            # Start the tracker first: a later start would unblock SIGINT and SIGTERM.
            resource_tracker.ensure_running()
        # Workers inherit the mask through fork and exec, so that it also holds during their imports.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@functools.cache
def _warn_of_ctrl_c() -> None:
    logger.warning(
        "Ctrl-C ends the loader's workers, and with them the run: this system cannot hold signals back. "
        "Set DATA_LOADER.NUM_WORKERS 0 for a run that writes a checkpoint first."
    )


def _end_for_parent_only(worker_id: int) -> None:
    """Set up a worker; ``worker_id`` is not used."""
    if not _CAN_HOLD_BACK:
        return
    # Set the mask again: a fork server that other code started did not inherit it.
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    parent = multiprocessing.parent_process()
    if _CAN_TELL_SENDER and parent is not None:
        threading.Thread(target=_wait_for_end, args=(parent.pid,), daemon=True).start()


def _wait_for_end(parent: int | None) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
