"""watched_batches: report why no batch arrives, and end the wait.

A run that waits for a loader looks like a run that computes. Likely reasons are too little shared memory for
the batches, a file system that does not answer, and workers that the kernel has killed.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from tsn_tsm_plugin.errors import LoaderError
from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)

# Interval between checks of the workers during a wait.
_POLL_SECONDS = 5
_NOTICE_SECONDS = 60.0
# A worker's connections are closed before its exit code is known.
_DEATH_SECONDS = 2.0
_SHM = Path("/dev/shm")
_SMALL_SHM = 2**30


def watched_batches(loader: DataLoader, *, max_wait_seconds: float) -> Iterator[Any]:
    """Iterate over a loader; log a line for every minute without a batch.

    Args:
        loader: The loader. If it has workers, its ``timeout`` is set to check them regularly. Without
            workers the wait is only logged: a read in this process cannot be ended.
        max_wait_seconds: Longest wait for one batch.

    Raises:
        LoaderError: If a batch takes longer, or a worker has died; the message names the likely reason.
    """
    if loader.num_workers:
        loader.timeout = _POLL_SECONDS
    batches = iter(loader)
    while True:
        try:
            batch = _next(batches, loader, max_wait_seconds)
        except StopIteration:
            return
        yield batch


def _next(batches: Iterator[Any], loader: DataLoader, max_wait_seconds: float) -> Any:
    begun = time.monotonic()
    noticed = 0.0
    while True:
        try:
            with _notice_from_a_thread() if loader.num_workers == 0 else contextlib.nullcontext():
                return next(batches)
        except (RuntimeError, OSError, EOFError) as error:
            # Fetching a batch from a dying worker raises an OSError or EOFError.
            wait_seconds = 0 if isinstance(error, RuntimeError) else _DEATH_SECONDS
            if dead := _dead_workers(loader, wait_seconds=wait_seconds):
                raise LoaderError(_why_it_died(dead, loader)) from error
            if "DataLoader timed out" not in str(error):
                raise
        waited = time.monotonic() - begun
        if waited >= max_wait_seconds:
            raise LoaderError(
                f"No batch came for {waited:.0f} s, the bound of DATA_LOADER.MAX_WAIT_SECONDS "
                f"({max_wait_seconds:g}). {_why_none_comes(loader)}"
            )
        if waited - noticed >= _NOTICE_SECONDS:
            noticed = waited
            logger.warning(f"No batch for {waited:.0f} s. {_why_none_comes(loader)}")


@contextlib.contextmanager
def _notice_from_a_thread() -> Iterator[None]:
    # Files that are open before the read, such as logs.
    others = _files_of(os.getpid())
    timer = threading.Timer(
        _NOTICE_SECONDS,
        lambda: logger.warning(
            f"No batch for {_NOTICE_SECONDS:.0f} s: the training process itself reads "
            f"(DATA_LOADER.NUM_WORKERS 0). {_open_files([os.getpid()], others)}"
        ),
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _dead_workers(loader: DataLoader, *, wait_seconds: float) -> list[int]:
    """Return the exit codes of the workers that ended with an error."""
    workers = {worker.sentinel: worker for worker in getattr(loader, "workers", [])}
    # A plain DataLoader of this process leaves a handler, which raises as soon as a worker dies.
    with contextlib.suppress(RuntimeError):
        for sentinel in multiprocessing.connection.wait(list(workers), timeout=wait_seconds):
            # The wait ends when the worker's files are closed, before its exit code is known.
            workers[sentinel].join(wait_seconds)
    return [worker.exitcode for worker in workers.values() if worker.exitcode]


def _why_it_died(exit_codes: list[int], loader: DataLoader) -> str:
    workers = f"DATA_LOADER.NUM_WORKERS (now {loader.num_workers})"
    if -signal.SIGKILL in exit_codes:
        return (
            "A worker of the data loader was killed (SIGKILL), most likely because memory ran out. Lower "
            f"{workers}, or ask for more memory."
        )
    if -signal.SIGBUS in exit_codes:
        return f"A worker of the data loader died of a bus error: {_shm_is_small()} Or lower {workers}."
    return f"A worker of the data loader died with exit code {exit_codes[0]}; see its output for the reason."


def _why_none_comes(loader: DataLoader) -> str:
    reasons = []
    with contextlib.suppress(OSError):
        if shutil.disk_usage(_SHM).total < _SMALL_SHM:
            reasons.append(f"Most likely {_shm_is_small()}")
    processes = [child.pid for child in multiprocessing.active_children() if child.pid]
    reasons.append(_open_files(processes, _files_of(os.getpid())))
    workers = f"{loader.num_workers} workers (DATA_LOADER.NUM_WORKERS)"
    reasons.append(f"Otherwise {workers} are too few, or the disk is too slow.")
    return " ".join(filter(None, reasons))


def _shm_is_small() -> str:
    usage = shutil.disk_usage(_SHM)
    return (
        f"{_SHM}, through which batches travel, is too small: {usage.total / 2**20:.0f} MiB, of which "
        f"{usage.free / 2**20:.0f} are free. Start the container with --shm-size=8g."
    )


def _open_files(processes: list[int], others: set[str]) -> str:
    """Name the open files of these processes, except ``others``, if the system lists them."""
    found = sorted({path for process in processes for path in _files_of(process)} - others)
    return f"Being read: {', '.join(found[:5])}; check their disk." if found else ""


def _files_of(process: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(entry.readlink())
                # Avoid is_file(): it would hang on the file system that hangs the worker.
                if target.startswith("/") and not target.startswith(("/dev/", "/proc/", "/sys/", "/memfd:")):
                    found.add(target)
    return found
