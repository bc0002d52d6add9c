"""fault_of_node, check_ring: check a node and the process group before the work begins."""

import datetime
import os
import shutil
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.errors import first_line

from ..errors import LaunchError

# Less space than one checkpoint of a large network needs.
_LEAST_FREE_BYTES = 1 << 30
# Remedies if the nodes are not connected and none of them can be blamed.
WAYS_ON = (
    "Submit the run again into its OUTPUT_DIR with `--exclude NODE`, with `--env GLOO_SOCKET_IFNAME=NAME` or "
    "with `--health-check 0`."
)


class UnhealthyNodeError(Exception):
    """Nodes on which the job cannot run.

    Attributes:
        nodes: Names of the nodes; empty if the bad node is unknown.
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
    from torch.distributed import ProcessGroupGloo

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
    names = os.environ.get("GLOO_SOCKET_IFNAME", "")
    try:
        for name in filter(None, names.split(",")):
            ProcessGroupGloo.create_device(interface=name)
    except RuntimeError:
        return f"the network interface {name} of GLOO_SOCKET_IFNAME has no address"
    try:
        free = shutil.disk_usage(run_dir).free
    except OSError as error:
        return f"{run_dir} cannot be seen ({error.strerror})"
    if free < _LEAST_FREE_BYTES:
        raise LaunchError(
            f"{run_dir} has {free / 2**30:.2f} GiB free: make room for {_LEAST_FREE_BYTES >> 30} GiB."
        )
    return ""


def check_ring(seconds: float) -> None:
    """Let all ranks exchange a number over gloo, and over NCCL if that is their backend.

    Args:
        seconds: Time limit of each exchange.

    Raises:
        RuntimeError: If an exchange fails.
    """
    import torch
    import torch.distributed as dist

    limit = datetime.timedelta(seconds=seconds)
    group: Any = dist.new_group(backend="gloo", timeout=limit)
    dist.all_reduce(torch.ones(1), group=group)
    if dist.get_backend() == "nccl":
        number = torch.ones(1, device="cuda")
        dist.all_reduce(number, async_op=True).wait(limit)
