"""Ranks of a gloo process group on this machine, forked from the test."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def start(world_size: int, folder: Path, work: Callable[[], None]) -> mp.ProcessContext:
    """Start ranks that do ``work`` and return without waiting for them."""
    store = folder / f"store_{len(list(folder.iterdir()))}"
    arguments = (world_size, store, work)
    # Forked: importing everything again would take longer than the work.
    return mp.start_processes(_join, args=arguments, nprocs=world_size, start_method="fork", join=False)


def spawn(world_size: int, folder: Path, work: Callable[[], None]) -> None:
    """Let ranks do ``work`` and wait for all of them."""
    ranks = start(world_size, folder, work)
    while not ranks.join():
        pass


def _join(rank: int, world_size: int, store: Path, work: Callable[[], None]) -> None:
    torch.set_num_threads(1)  # as in loader workers: the threads of the parent were not forked
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    work()
    dist.destroy_process_group()
