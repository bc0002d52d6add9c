"""data_parallel, synchronize_batch_norm: a network on several ranks, with gradients averaged in buckets.

Source: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", VLDB 2020,
arXiv:2006.15704.
"""

import inspect
from collections.abc import Collection
from typing import Any

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from tsn_tsm_plugin.errors import ConfigError

_OPTIONS = inspect.signature(DistributedDataParallel).parameters
# PyTorch 2.15 deprecates the older name.
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
    """Wrap a network for the ranks of a process group; every rank calls this function.

    The buckets are fixed before the first step, in the reverse order of the parameters. PyTorch would rebuild
    them after the first step. With more than two ranks, the buckets define the order of additions. A resumed
    run would therefore round its first step differently.

    Batch norm normalises with the clips of its own rank. Running statistics are not exchanged at each step.
    The statistics of rank 0 are saved, and sent to the other ranks before a test.

    Args:
        model: The network, on ``device``.
        device: Device of this rank.
        gradient_compression: ``"off"``, or ``"bf16"``: gradients are sent and summed in bf16.
        bucket_cap_mb: Size of a bucket of gradients in MiB; an exchange starts when a bucket is full.
        static_graph: Promise that every step runs the same operations, each parameter once per update.
        gradient_as_bucket_view: Store gradients in the buckets, instead of copying them.

    Raises:
        ConfigError: If the backend of the process group cannot sum bf16 numbers.
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
    # PyTorch rebuilds buckets after the second backward pass with a static graph, otherwise after the first.
    _lay_out_buckets(wrapped, device, num_steps=3 if static_graph else 2)
    return wrapped


def synchronize_batch_norm(model: nn.Module, *, frozen: Collection[nn.Module] = ()) -> None:
    """Replace every batch norm by PyTorch's, with statistics over all ranks; weights and names stay.

    Args:
        model: The network; in a process group it must run on GPUs.
        frozen: Modules to skip, with all their submodules, because their statistics are fixed.
    """
    for name, child in model.named_children():
        if isinstance(child, _BatchNorm) and child not in frozen:
            setattr(model, name, convert_sync_batchnorm(child))
        elif child not in frozen:
            synchronize_batch_norm(child, frozen=frozen)


class _TouchesParameters(nn.Module):
    """Replaces a network: zero gradients arrive from the last parameter to the first."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._parameters_in_order = [p for p in network.parameters() if p.requires_grad]

    def forward(self, zero: Tensor) -> Tensor:
        total = zero
        for parameter in self._parameters_in_order:
            total = total + parameter.sum().to(zero.dtype) * zero
        return total


def _lay_out_buckets(wrapped: DistributedDataParallel, device: torch.device, *, num_steps: int) -> None:
    """Make PyTorch build its final buckets, with steps that do not change the weights."""
    network = wrapped.module
    for _ in range(num_steps):
        wrapped.module = _TouchesParameters(network)
        wrapped(torch.zeros((), device=device)).backward()
        wrapped.zero_grad(set_to_none=True)
    wrapped.module = network
    network.zero_grad(set_to_none=True)


def _check_adds_bf16(device: torch.device) -> None:
    """Check bf16 sums before training: an error in a backward hook aborts the process."""
    try:
        dist.all_reduce(torch.ones(1, dtype=torch.bfloat16, device=device))
    except RuntimeError as error:
        raise ConfigError(
            "DDP.GRADIENT_COMPRESSION 'bf16' needs a process group that sums bf16 numbers, got "
            f"{dist.get_backend()} of PyTorch {torch.__version__}, which reports: {error}. Set it to 'off'."
        ) from error
