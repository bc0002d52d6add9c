"""Inputs of the shift within a 1x1 convolution, and the two steps that it must equal."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tsn_tsm_plugin.layers.temporal_shift import temporal_shift

# Odd sizes, folds of one channel, folds as wide as a block of channels, one frame, several blocks of rows.
SHAPES = [
    # BT, C, K, H, W, T, shift_div
    (4, 8, 5, 3, 5, 4, 8),
    (6, 19, 7, 3, 3, 3, 4),
    (3, 16, 16, 1, 7, 1, 8),
    (4, 64, 70, 5, 7, 2, 2),
    (16, 256, 8, 3, 5, 8, 8),
]


def case(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    num_frames, num_channels, num_outputs, height, width = shape[:5]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num_frames, num_channels, height, width, generator=generator, dtype=dtype)
    weight = torch.randn(num_outputs, num_channels, 1, 1, generator=generator, dtype=dtype)
    return x, weight, torch.randn(num_outputs, generator=generator, dtype=dtype)


def in_two_steps(x: Tensor, weight: Tensor, bias: Tensor | None, **how: int) -> Tensor:
    return F.conv2d(temporal_shift(x, **how), weight, bias)
