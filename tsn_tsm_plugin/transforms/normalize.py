"""Normalize: uint8 batches to floats on the compute device, in the memory layout of 2D networks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tsn_tsm_plugin.transforms.pixel_range import to_255


class Normalize(nn.Module):
    """Subtract the mean and divide by the standard deviation of each channel, both in 0-255.

    The result's memory is ordered (B, T, H, W, C). Folding time into the batch then gives a channels_last
    tensor without a copy.

    Example:
        >>> normalize = Normalize([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
        >>> white = torch.full((1, 3, 8, 56, 56), 255, dtype=torch.uint8)
        >>> normalize(white)[0, :, 0, 0, 0]
        tensor([2.2489, 2.4286, 2.6400])

    Args:
        mean: One number per channel, in 0-255.
        std: One number per channel, in 0-255.
        to_bgr: Reverse the channels of RGB frames afterwards, for a network that takes BGR.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, to_bgr: bool = False) -> None:
        super().__init__()
        self.to_bgr = to_bgr
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32), persistent=False)

    def forward(self, video: Tensor) -> Tensor:
        """Map (B, C, T, H, W), uint8, float in 0-255 or float in 0-1, to float32 of the same shape.

        Raises:
            TypeError: If floats are in neither range, or fit both.
        """
        video_BTHWC = to_255(video).permute(0, 2, 3, 4, 1).contiguous()
        video_BTHWC = torch.sub(video_BTHWC, self.mean).div_(self.std)
        return (video_BTHWC.flip(-1) if self.to_bgr else video_BTHWC).permute(0, 4, 1, 2, 3)

    def extra_repr(self) -> str:
        """Name the settings in the module's repr."""
        order = ", to_bgr=True" if self.to_bgr else ""
        return f"mean={self.mean.tolist()}, std={self.std.tolist()}{order}"
