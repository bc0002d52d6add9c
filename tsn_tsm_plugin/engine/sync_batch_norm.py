"""Batch norm over the clips of all ranks."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from tsn_tsm_plugin.layers.in_place_batch_norm import InPlaceBatchNorm2d


class SyncBatchNorm(nn.BatchNorm2d):
    """2D batch norm whose statistics are those of all ranks, on any device.

    PyTorch's own runs on GPUs only, where it is faster; this one lets the same recipe run, and be tested, on
    CPUs. In eval mode and in a single process it is plain batch norm.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        if not self.training or not dist.is_initialized():
            return super().forward(x)
        per_channel = (0, 2, 3)
        count = torch.full((1,), x.numel() / x.shape[1], dtype=x.dtype, device=x.device)
        sums = all_reduce(torch.cat([x.sum(per_channel), count]))
        total = sums[-1].detach()
        mean = (sums[:-1] / total)[None, :, None, None]
        # A second exchange instead of the mean of squares, which cancels in float32.
        var = all_reduce(((x - mean) ** 2).sum(per_channel)) / total
        self._track(mean.flatten().detach(), var.detach(), total)
        scale = torch.rsqrt(var + self.eps) * self.weight
        return (x - mean) * scale[:, None, None] + self.bias[:, None, None]

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, total: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.momentum is not None and self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * total / (total - 1), self.momentum)
        self.num_batches_tracked.add_(1)


def synchronize_batch_norm(model: nn.Module, *, device: torch.device) -> None:
    """Replace every batch norm below a network by one that sees all ranks; weights and names stay."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d) and type(child) in (nn.BatchNorm2d, InPlaceBatchNorm2d):
            synchronized = SyncBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum or 0.1)
            synchronized.load_state_dict(child.state_dict())
            for mine, theirs in zip(synchronized.parameters(), child.parameters(), strict=True):
                mine.requires_grad_(theirs.requires_grad)
            setattr(model, name, synchronized)
        else:
            synchronize_batch_norm(child, device=device)
