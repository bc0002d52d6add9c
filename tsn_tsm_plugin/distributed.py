"""get_rank, barrier, all_gather_object, ...: the process group; also usable in a single process."""

import datetime
import os
from typing import Any

import torch
import torch.distributed as dist

from tsn_tsm_plugin.errors import ConfigError

_timeout: datetime.timedelta | None = None


def is_initialized() -> bool:
    """Return whether this process belongs to a process group."""
    return dist.is_available() and dist.is_initialized()


def get_rank() -> int:
    """Return the rank of this process, 0 without a process group."""
    return dist.get_rank() if is_initialized() else 0


def get_world_size() -> int:
    """Return the number of processes, 1 without a process group."""
    return dist.get_world_size() if is_initialized() else 1


def local_rank() -> int:
    """Return the index of this process on its node, from ``LOCAL_RANK`` as torchrun sets it."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def init_process_group_from_env(*, timeout_seconds: float = 600.0, store: dist.Store | None = None) -> bool:
    """Join the process group of torchrun's variables, with NCCL if CUDA is available, otherwise with gloo.

    Args:
        timeout_seconds: Time that a collective waits for a lost peer before it raises.
        store: Store for the rendezvous, instead of ``MASTER_ADDR`` and ``MASTER_PORT``.

    With CUDA, this process's GPU becomes the current device, also if a group already exists. Otherwise pinned
    memory and gathered objects would use the first GPU.

    Returns:
        Whether this call initialised the group. ``False`` if ``WORLD_SIZE`` is absent or 1, or if a group
        already exists.

    Raises:
        ConfigError: If srun started several processes without torchrun's variables: each process would train
            alone and write into the same run folder.
    """
    if not is_initialized() and "WORLD_SIZE" not in os.environ:
        _refuse_to_be_one_of_many()
    if not is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return False
    use_cuda = torch.cuda.is_available()
    if use_cuda:
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
    if is_initialized():
        return False
    global _timeout
    _timeout = datetime.timedelta(seconds=timeout_seconds)
    dist.init_process_group(
        "nccl" if use_cuda else "gloo",
        timeout=_timeout,
        store=store,
        rank=int(os.environ["RANK"]) if store is not None else -1,
        world_size=int(os.environ["WORLD_SIZE"]) if store is not None else -1,
    )
    return True


def _refuse_to_be_one_of_many() -> None:
    num_tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if num_tasks != "1":
        raise ConfigError(
            f"srun started {num_tasks} processes, but WORLD_SIZE is not set: each would run alone. "
            "Use `srun ... python launch/submit.py --cfg RECIPE`, or torchrun."
        )


def new_cpu_group() -> Any:
    """Return a CPU process group of all ranks, ``None`` in a single process; every rank calls this function.

    The group has the timeout of :func:`init_process_group_from_env`, or PyTorch's default timeout if other
    code created the main group.
    """
    return dist.new_group(backend="gloo", timeout=_timeout) if get_world_size() > 1 else None


def barrier() -> None:
    """Wait for all processes."""
    if is_initialized():
        dist.barrier()


def all_gather_object(value: Any, *, group: Any = None) -> list[Any]:
    """Return the picklable ``value`` of every rank, in rank order, on every rank of a group; default: all."""
    if not is_initialized():
        return [value]
    values: list[Any] = [None] * get_world_size()
    dist.all_gather_object(values, value, group=group)
    return values


def destroy() -> None:
    """Leave the process group; call this function on success only, because it waits for failed peers."""
    global _timeout
    if is_initialized():
        dist.destroy_process_group()
        _timeout = None
