"""start, spawn, join_from_env, in_a_group_of_one: local ranks of a process group, forked from the test."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def start(world_size: int, folder: Path, work: Callable[[], None]) -> mp.ProcessContext:
    """Start ranks that do ``work`` and return without waiting for them."""
    store = folder / f"store_{len(list(folder.iterdir()))}"
    arguments = (world_size, store, work)
    # Fork: importing everything again would take longer than the work.
    return mp.start_processes(_join, args=arguments, nprocs=world_size, start_method="fork", join=False)


def spawn(world_size: int, folder: Path, work: Callable[[], None]) -> None:
    """Let ranks do ``work`` and wait for all of them."""
    ranks = start(world_size, folder, work)
    while not ranks.join():
        pass


def join_from_env(world_size: int, work: Callable[[], None], *, start_method: str = "fork") -> None:
    """Let processes with torchrun's variables do ``work``, which joins a group; wait for all processes.

    Args:
        world_size: Number of processes.
        work: A function, which must be picklable unless the processes are forked.
        start_method: ``"spawn"`` if CUDA is in use, because CUDA does not work after a fork.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(_do, args=(world_size, port, work), nprocs=world_size, start_method=start_method)


def _do(rank: int, world_size: int, port: int, work: Callable[[], None]) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    work()


def in_a_group_of_one(work: Callable[[], None]) -> None:
    """Do ``work`` as the only rank of a group, over NCCL if there is a GPU."""
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    work()
    dist.destroy_process_group()


def _join(rank: int, world_size: int, store: Path, work: Callable[[], None]) -> None:
    torch.set_num_threads(1)  # as in loader workers: the threads of the parent were not forked
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    work()
    dist.destroy_process_group()
