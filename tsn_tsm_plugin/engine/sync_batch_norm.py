"""SyncBatchNorm, synchronize_batch_norm: batch norm over the clips of all ranks."""

from collections.abc import Collection

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(_BatchNorm):
    """Batch norm in any number of dimensions with statistics over all ranks, on any device.

    PyTorch's synchronised batch norm runs on GPUs only, where it is faster. This class also runs on CPU
    clusters, and in tests of several ranks. Any number of ranks gives the weights of one process. It is
    plain batch norm in eval mode and in a single process. Its submodules, such as the activation of timm's
    ``BatchNormAct2d``, are applied to its output. DDP refuses subclasses of PyTorch's class on CPUs.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, ...)."""
        is_plain = not self.training or not dist.is_initialized()
        x = super().forward(x) if is_plain else self._over_ranks(x)
        for behind in self.children():
            x = behind(x)
        return x

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim < 2:
            raise ValueError(f"Batch norm takes (N, C, ...), got a tensor of shape {tuple(x.shape)}.")

    def _over_ranks(self, given: Tensor) -> Tensor:
        # Half precision cannot represent sums over many pixels.
        x = given.to(torch.promote_types(given.dtype, torch.float32))
        all_but_channels = (0, *range(2, x.ndim))
        per_channel = (1, -1) + (1,) * (x.ndim - 2)
        count = torch.full((1,), x.numel() / x.shape[1], dtype=x.dtype, device=x.device)
        sums = all_reduce(torch.cat([x.sum(all_but_channels), count]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = x - mean.view(per_channel)
        # Use a second exchange: the mean of squares loses precision in float32.
        var = all_reduce((centred**2).sum(all_but_channels)) / total
        if self.track_running_stats:
            self._track(mean.detach(), var.detach(), total)
        y = centred * torch.rsqrt(var + self.eps).view(per_channel)
        if self.affine:
            y = y * self.weight.view(per_channel) + self.bias.view(per_channel)
        return y.to(given.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, total: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        # As in PyTorch, momentum None means the mean over all batches.
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(var * total / (total - 1), momentum)


def synchronize_batch_norm(
    model: nn.Module, *, device: torch.device, frozen: Collection[nn.Module] = ()
) -> None:
    """Replace every batch norm of a network by a synchronised batch norm; weights and names stay.

    Args:
        model: The network.
        device: Device of the network; GPUs use PyTorch's implementation.
        frozen: Modules to skip, with all their submodules, because their statistics are fixed.
    """
    for name, child in model.named_children():
        if any(child is module for module in frozen):
            continue
        if not isinstance(child, _BatchNorm):
            synchronize_batch_norm(child, device=device, frozen=frozen)
        elif device.type == "cuda":
            setattr(model, name, convert_sync_batchnorm(child))
        else:  # Weights, statistics, mode and submodules stay.
            child.__class__ = SyncBatchNorm
