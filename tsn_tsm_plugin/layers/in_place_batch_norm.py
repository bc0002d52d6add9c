"""Batch normalisation that overwrites what it normalises, where nobody else wants that.

Axes: N images, C channels, H rows, W columns.
"""

import torch
from torch import Tensor, nn

from tsn_tsm_plugin.layers.tracing import is_traced


class InPlaceBatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` for the output of a convolution, which in evaluation on a CPU it overwrites.

    The scores are the same to the bit. The forward pass of a ResNet-50 on a CPU becomes faster by about a
    sixth: no memory is asked of the system for 53 further feature maps, and each is in the cache when it is
    written. In training, with gradients, on other devices, and where the network is traced, compiled or
    exported, it is ``nn.BatchNorm2d``.

    A forward hook on the convolution that keeps its output sees it overwritten, as in torchvision's networks
    one on the normalisation sees it overwritten by the ReLU: clone it there.
    """

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape; in evaluation the input is gone afterwards."""
        if not self._may_overwrite(x_NCHW):
            return super().forward(x_NCHW)
        assert self.running_mean is not None
        none = x_NCHW.new_empty(0, dtype=self.running_mean.dtype)
        normalised, *_ = torch.ops.aten.native_batch_norm.out(
            x_NCHW,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            False,
            0.0,
            self.eps,
            out=x_NCHW,
            save_mean=none,
            save_invstd=none.clone(),
        )
        return normalised

    def _may_overwrite(self, x_NCHW: Tensor) -> bool:
        return (
            not self.training
            and not torch.is_grad_enabled()
            and self.running_mean is not None
            # Fake, quantised and other tensors of a kind of their own are left to their owners.
            and type(x_NCHW) is Tensor
            and x_NCHW.device.type == "cpu"
            and x_NCHW.ndim == 4
            and not is_traced()
        )
