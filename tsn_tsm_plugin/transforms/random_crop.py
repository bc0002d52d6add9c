"""MultiScaleCrop, RandomResizedCrop: training crops with one window for all frames of a clip.

Sources: Wang et al., "Temporal Segment Networks", ECCV 2016, section 3.2 (corner cropping, scale jittering);
Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6. The distributions equal MMAction2's
``MultiScaleCrop`` and ``RandomResizedCrop``.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2

from tsn_tsm_plugin.transforms.resize import resize

Window = tuple[int, int, int, int]

# Crop positions in quarters of the free width and height: corners and centre, then edges and quarters.
_POSITIONS = (
    ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2)),
    ((0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3)),
)
_SNAP_PX = 3
_RESIZED_CROP_TRIES = 10


class _RandomCrop(v2.Transform):
    """Base of a crop to a window, which is resized to a square."""

    def __init__(self, size: int, *, exact: bool) -> None:
        super().__init__()
        self.size = size
        self.exact = exact

    def draw(self, height: int, width: int, generator: torch.Generator | None = None) -> Window:
        """Draw a window ``(top, left, height, width)`` within a frame, in pixels."""
        raise NotImplementedError

    def forward(self, video: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Map uint8 (C, T, H, W) to uint8 (C, T, size, size)."""
        frame_height, frame_width = video.shape[-2:]
        top, left, height, width = self.draw(frame_height, frame_width, generator)
        crop = video[..., top : top + height, left : left + width]
        return resize(crop, height=self.size, width=self.size, exact=self.exact)


class MultiScaleCrop(_RandomCrop):
    """Crop a window of random size at a random fixed position, and resize it to a square.

    Width and height are each one of ``scales`` times the short side, at most one step of the list apart; a
    side within 3 px of ``size`` becomes ``size``. The window sits at one of 5 or 13 positions.

    Args:
        size: Side of the result, in pixels.
        scales: Window sides relative to the frame's short side, in descending order.
        num_fixed_crops: 5 (corners and centre) or 13 (edges and quarters too).
        exact: See `tsn_tsm_plugin.transforms.resize.resize`.
    """

    def __init__(
        self,
        size: int,
        *,
        scales: Sequence[float] = (1.0, 0.875, 0.75, 0.66),
        num_fixed_crops: int = 13,
        exact: bool = False,
    ) -> None:
        super().__init__(size, exact=exact)
        if num_fixed_crops not in (5, 13):
            raise ValueError(f"num_fixed_crops must be 5 or 13, got {num_fixed_crops}.")
        if not scales or not all(0.0 < scale <= 1.0 for scale in scales):
            raise ValueError(f"scales must be numbers in (0, 1], got {tuple(scales)}.")
        self.scales = tuple(scales)
        self.num_fixed_crops = num_fixed_crops

    def draw(self, height: int, width: int, generator: torch.Generator | None = None) -> Window:
        """Draw a window ``(top, left, height, width)`` within a frame, in pixels."""
        sides = [max(int(min(height, width) * scale), 1) for scale in self.scales]
        sides = [self.size if abs(side - self.size) < _SNAP_PX else side for side in sides]
        pairs = [
            (sides[i], sides[j]) for i, j in itertools.product(range(len(sides)), repeat=2) if abs(i - j) <= 1
        ]
        crop_height, crop_width = pairs[_draw(len(pairs), generator)]
        # A snapped side may be larger than a tiny frame.
        crop_height, crop_width = min(crop_height, height), min(crop_width, width)
        positions = _POSITIONS[0] + (_POSITIONS[1] if self.num_fixed_crops == 13 else ())
        quarters_x, quarters_y = positions[_draw(len(positions), generator)]
        top = quarters_y * ((height - crop_height) // 4)
        left = quarters_x * ((width - crop_width) // 4)
        return top, left, crop_height, crop_width


class RandomResizedCrop(_RandomCrop):
    """Crop a window of random area and aspect ratio anywhere in the frame, and resize it to a square.

    Args:
        size: Side of the result, in pixels.
        area: Range of the window's share of the frame's area.
        aspect_ratio: Range of width over height, drawn log-uniformly.
        exact: See `tsn_tsm_plugin.transforms.resize.resize`.
    """

    def __init__(
        self,
        size: int,
        *,
        area: tuple[float, float] = (0.08, 1.0),
        aspect_ratio: tuple[float, float] = (3 / 4, 4 / 3),
        exact: bool = False,
    ) -> None:
        super().__init__(size, exact=exact)
        for name, (low, high) in (("area", area), ("aspect_ratio", aspect_ratio)):
            if not 0.0 < low <= high:
                raise ValueError(f"{name} must be a rising pair of positive numbers, got {(low, high)}.")
        self.area = area
        self.aspect_ratio = aspect_ratio

    def draw(self, height: int, width: int, generator: torch.Generator | None = None) -> Window:
        """Draw a window ``(top, left, height, width)``; the centred square if ten draws do not fit."""
        low, high = (math.log(ratio) for ratio in self.aspect_ratio)
        draws = torch.rand(2, _RESIZED_CROP_TRIES, dtype=torch.float64, generator=generator)
        ratios = torch.exp(low + (high - low) * draws[0])
        areas = (self.area[0] + (self.area[1] - self.area[0]) * draws[1]) * (height * width)
        widths = torch.sqrt(areas * ratios).round().long().tolist()
        heights = torch.sqrt(areas / ratios).round().long().tolist()
        for crop_height, crop_width in zip(heights, widths, strict=True):
            if 0 < crop_height <= height and 0 < crop_width <= width:
                left = _draw(width - crop_width + 1, generator)
                top = _draw(height - crop_height + 1, generator)
                return top, left, crop_height, crop_width
        side = min(height, width)
        return (height - side) // 2, (width - side) // 2, side, side


def _draw(count: int, generator: torch.Generator | None) -> int:
    return int(torch.randint(count, (), generator=generator))
