"""GateShift: a temporal module that learns where and how much to shift.

Axes: B videos, C channels, T frames, H rows, W columns.
Source: Sudhakaran, Escalera, Lanz, "Gate-Shift Networks for Video Action Recognition", CVPR 2020,
arXiv:1912.00381, section 3.2.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GateShift(nn.Module):
    """Move a gated part of half of the channels one frame on, and of the other half one frame back.

    The gates, in (-1, 1), are a spatio-temporal convolution of the features with one output for each half.
    The convolution starts at zero, so that a fresh module is the identity.

    Args:
        dim: C, an even number.
        num_segments: T.
        kernel_size: Side of the convolution in frames and pixels, an odd number.
    """

    def __init__(self, dim: int, *, num_segments: int, kernel_size: int = 3) -> None:
        super().__init__()
        if dim % 2 or not kernel_size % 2:
            raise ValueError(f"dim must be even and kernel_size odd, got {dim} and {kernel_size}.")
        self.norm = nn.BatchNorm3d(dim)
        self.gate = nn.Conv3d(dim, 2, kernel_size, padding=kernel_size // 2, groups=2)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Map clips (B, C, T, H, W) to the same shape."""
        gates_B2THW = self.gate(self.norm(x_BCTHW).relu()).tanh()
        gated_BCTHW = gates_B2THW.repeat_interleave(x_BCTHW.shape[1] // 2, 1) * x_BCTHW
        later, earlier = gated_BCTHW.chunk(2, 1)
        moved_BCTHW = torch.cat(
            [F.pad(later, (0, 0, 0, 0, 1, 0))[:, :, :-1], F.pad(earlier, (0, 0, 0, 0, 0, 1))[:, :, 1:]], 1
        )
        return x_BCTHW - gated_BCTHW + moved_BCTHW
