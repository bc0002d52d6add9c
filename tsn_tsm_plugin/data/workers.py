"""map_in_workers, usable_cpus: process many items in worker processes."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

import torch

from tsn_tsm_plugin.errors import VideoError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def usable_cpus() -> int:
    """Return the number of CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_workers(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, num_workers: int, chunksize: int = 1
) -> Iterator[_Result]:
    """Yield the result for each item, in order.

    Args:
        work: Picklable function of one item.
        items: The items.
        num_workers: Processes; 0 uses this process.
        chunksize: Number of items that a worker gets at once.

    Raises:
        VideoError: If a worker process dies.
    """
    if num_workers == 0:
        yield from map(work, items)
        return
    # Forked workers start fast and need no importable main module, but only Linux forks safely.
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(
        num_workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        yield from pool.map(work, items, chunksize=chunksize)
    except BrokenProcessPool as error:
        raise VideoError(
            "A worker process died; finished videos are kept. Find the video with --num-workers 0."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
