"""The network on several ranks: gradients are averaged in buckets while the backward pass goes on.

Source: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB 2020,
arXiv:2006.15704.
"""

import inspect
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from tsn_tsm_plugin.errors import ConfigError

_OPTIONS = inspect.signature(DistributedDataParallel).parameters
# PyTorch 2.15 warns of the older name.
_SYNC_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in _OPTIONS else "broadcast_buffers"
_BUFFERS_STAY: dict[str, Any] = {_SYNC_BUFFERS: False}


def data_parallel(
    model: nn.Module,
    *,
    device: torch.device,
    gradient_compression: str = "off",
    bucket_cap_mb: float = 25.0,
    static_graph: bool = False,
    gradient_as_bucket_view: bool = True,
) -> DistributedDataParallel:
    """Wrap a network whose ranks are in a process group; every rank calls it.

    Batch norm normalises with the clips of its own rank. Running statistics are not exchanged at every step:
    those of rank 0 are saved, and the others get them before they test.

    Args:
        model: The network, on ``device``.
        device: Of this rank.
        gradient_compression: ``"off"``, or ``"bf16"``: gradients travel, and are added up, in bf16.
        bucket_cap_mb: Size of a bucket of gradients in MiB; an exchange starts as soon as one is full.
        static_graph: Promise that every step runs the same operations, each parameter once per update.
        gradient_as_bucket_view: Let gradients lie in the buckets, instead of being copied there and back.

    Raises:
        ConfigError: If the backend of the process group cannot add up bf16 numbers.
    """
    wrapped = DistributedDataParallel(
        model,
        device_ids=[device.index] if device.type == "cuda" else None,
        **_BUFFERS_STAY,
        bucket_cap_mb=bucket_cap_mb,
        static_graph=static_graph,
        gradient_as_bucket_view=gradient_as_bucket_view,
    )
    if gradient_compression == "bf16":
        _check_adds_bf16(device)
        wrapped.register_comm_hook(None, bf16_compress_hook)
    return wrapped


def _check_adds_bf16(device: torch.device) -> None:
    """Find out now: a hook that fails in the backward pass takes the process with it."""
    try:
        dist.all_reduce(torch.ones(1, dtype=torch.bfloat16, device=device))
    except RuntimeError as error:
        raise ConfigError(
            "DDP.GRADIENT_COMPRESSION 'bf16' needs a process group that adds up bf16 numbers, got "
            f"{dist.get_backend()} of PyTorch {torch.__version__}, which says: {error}. Set it to 'off'."
        ) from error
