"""CenterCrop, ThreeCrop, TenCrop: crops for testing, ordered crop-major.

"Crop-major" means all frames of crop 0, then all frames of crop 1, as the references stack them.
"""

import torch
from torch import Tensor
from torchvision.transforms import v2

from tsn_tsm_plugin.transforms.flip import mirror


class _SquareCrop(v2.Transform):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


class CenterCrop(_SquareCrop):
    """Cut the square in the middle of every frame.

    Args:
        size: Side of the square, in pixels.
    """

    def forward(self, video: Tensor) -> Tensor:
        """Map (C, T, H, W) to (C, T, size, size)."""
        height, width = _check(video, self.size)
        return _crop(video, (height - self.size) // 2, (width - self.size) // 2, self.size)


class ThreeCrop(_SquareCrop):
    """Cut three squares along the longer side: first, last, middle, in this order.

    The frame's short side must be ``size``, so that the three squares cover the whole frame.

    Example:
        >>> video = torch.zeros(3, 8, 256, 340, dtype=torch.uint8)
        >>> tuple(ThreeCrop(256)(video).shape)
        (3, 24, 256, 256)

    Args:
        size: Side of the squares, in pixels.
    """

    def forward(self, video: Tensor) -> Tensor:
        """Map (C, T, H, W) to (C, 3 * T, size, size), crop-major."""
        height, width = _check(video, self.size)
        if min(height, width) != self.size:
            raise ValueError(
                f"ThreeCrop needs frames whose short side is its size {self.size}, got {height} x {width}. "
                f"Put ShortSideScale({self.size}) before it."
            )
        step_x, step_y = (width - self.size) // 2, (height - self.size) // 2
        return torch.cat([_crop(video, n * step_y, n * step_x, self.size) for n in (0, 2, 1)], dim=1)


class TenCrop(_SquareCrop):
    """Cut the four corners and the centre, each followed by its mirror image.

    Order: upper left, upper right, lower left, lower right, centre. Corners lie on a grid of quarters of the
    free width and height. The right and lower crops may therefore end up to 3 px before the edge.

    Example:
        >>> tuple(TenCrop(224)(torch.zeros(3, 8, 256, 340, dtype=torch.uint8)).shape)
        (3, 80, 224, 224)

    Args:
        size: Side of the squares, in pixels.
        is_flow: Whether channels are optical flow, whose x a mirror inverts.
    """

    def __init__(self, size: int, *, is_flow: bool = False) -> None:
        super().__init__(size)
        self.is_flow = is_flow

    def forward(self, video: Tensor) -> Tensor:
        """Map (C, T, H, W) to (C, 10 * T, size, size), crop-major."""
        height, width = _check(video, self.size)
        quarter_x, quarter_y = (width - self.size) // 4, (height - self.size) // 4
        crops: list[Tensor] = []
        for x, y in ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2)):
            crop = _crop(video, y * quarter_y, x * quarter_x, self.size)
            crops += [crop, mirror(crop, is_flow=self.is_flow)]
        return torch.cat(crops, dim=1)


def _check(video: Tensor, size: int) -> tuple[int, int]:
    height, width = video.shape[-2:]
    if min(height, width) < size:
        raise ValueError(
            f"a crop of {size} px does not fit into frames of {height} x {width}. "
            f"Put ShortSideScale({size}) or a larger one before it."
        )
    return height, width


def _crop(video: Tensor, top: int, left: int, size: int) -> Tensor:
    return video[..., top : top + size, left : left + size]
