"""fault_of_node, silent_ranks: check a node and the connections of the ranks before the work begins."""

import datetime
import re
import shutil
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.errors import first_line

from ..errors import LaunchError

# Less space than one checkpoint of a large network needs.
_LEAST_FREE_BYTES = 1 << 30


class UnhealthyNodeError(Exception):
    """A node on which the job cannot run.

    Attributes:
        nodes: Names of the nodes.
    """

    def __init__(self, message: str, nodes: list[str]) -> None:
        super().__init__(message)
        self.nodes = nodes


def fault_of_node(run_dir: Path, *, num_gpus: int) -> str:
    """Return why this node cannot run the job; empty if it can.

    Args:
        run_dir: The run folder.
        num_gpus: GPUs that the job requested on each node.

    Raises:
        LaunchError: If the node is not to blame: PyTorch lacks CUDA, or the run folder has no free space.
    """
    import torch

    if num_gpus and not torch.backends.cuda.is_built():
        raise LaunchError(
            f"PyTorch {torch.__version__} is built without CUDA, and --gpus-per-node is {num_gpus}. "
            "Install a build with CUDA, or use --gpus-per-node 0."
        )
    if num_gpus and torch.cuda.device_count() < num_gpus:
        return f"{torch.cuda.device_count()} of {num_gpus} GPUs are visible"
    try:
        for index in range(num_gpus):
            torch.ones(1, device=f"cuda:{index}").sum().item()
    except RuntimeError as error:
        return f"GPU {index} does not compute ({first_line(error)})"
    try:
        free = shutil.disk_usage(run_dir).free
    except OSError as error:
        return f"{run_dir} cannot be seen ({error.strerror})"
    if free < _LEAST_FREE_BYTES:
        raise LaunchError(
            f"{run_dir} has {free / 2**30:.2f} GiB free: make room for {_LEAST_FREE_BYTES >> 30} GiB."
        )
    return ""


def silent_ranks(seconds: float) -> list[int]:
    """Let all ranks exchange a message; return, on rank 0, the ranks that did not answer.

    Args:
        seconds: Time limit of the exchange.

    Raises:
        RuntimeError: If the exchange fails, on the other ranks and over the GPUs' own connections.
    """
    import torch
    import torch.distributed as dist

    limit = datetime.timedelta(seconds=seconds)
    group: Any = dist.new_group(backend="gloo", timeout=limit)
    try:
        dist.monitored_barrier(group, timeout=limit, wait_all_ranks=True)
    except RuntimeError as error:
        named = re.search(r"[Rr]anks? ([\d, ]+) failed to pass monitoredBarrier", str(error))
        if dist.get_rank() or named is None:
            raise
        return [int(rank) for rank in named[1].replace(",", " ").split()]
    if dist.get_backend() == "nccl":
        number = torch.ones(1, device="cuda")
        dist.all_reduce(number, async_op=True).wait(limit)
    return []
