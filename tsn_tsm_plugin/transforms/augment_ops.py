"""RandomOperations, warp, fill_square, ...: pixel operations, identical for all frames of a clip.

Frames are uint8 (T, C, H, W) in 0-255, as for torchvision's v2 kernels. They are never changed in place.
Statistics (darkest and brightest level, histogram, mean grey) are computed per frame.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from tsn_tsm_plugin.transforms.pixel_range import on_levels

FrameOperation = Callable[[Tensor, float], Tensor]
"""From frames and one argument to frames."""

_NUM_LEVELS = 256


class RandomOperations(v2.Transform):
    """Base of random operations on pixels, with one draw for all frames of a clip."""

    def draw(self, generator: torch.Generator | None = None) -> Sequence[tuple[str, Any]]:
        """Draw names of operations and their arguments, in the order of their use."""
        raise NotImplementedError

    def apply_operation(self, frames: Tensor, name: str, argument: Any) -> Tensor:
        """Return changed frames, uint8 (T, C, H, W)."""
        raise NotImplementedError

    def forward(self, video: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Map (C, T, H, W) to the same shape, dtype and range: uint8, float in 0-255 or float in 0-1.

        Floats are rounded to the 256 levels.

        Raises:
            TypeError: If the pixels are in neither range, or fit both.
        """
        drawn = self.draw(generator)

        def augment(levels: Tensor) -> Tensor:
            frames = levels.transpose(0, 1)
            for name, argument in drawn:
                frames = self.apply_operation(frames, name, argument)
            return frames.transpose(0, 1)

        return on_levels(augment, video)


def warp(
    frames: Tensor,
    *,
    degrees: float = 0.0,
    shear_x: float = 0.0,
    shear_y: float = 0.0,
    shift_x_px: float = 0.0,
    shift_y_px: float = 0.0,
    about_corner: bool = False,
    fill: float = 128.0,
) -> Tensor:
    """Rotate, shear or shift frames, bilinearly; uncovered pixels get ``fill``.

    Args:
        frames: uint8 (T, C, H, W).
        degrees: Angle of rotation, counter-clockwise.
        shear_x: Columns to the left that a row moves for each row below the fixed point.
        shear_y: Rows up that a column moves for each column right of the fixed point.
        shift_x_px: Pixels to the right.
        shift_y_px: Pixels down.
        about_corner: Leave the upper left corner in place instead of the centre.
        fill: Level of the uncovered pixels, in 0-255.
    """
    return F.affine(
        frames,
        angle=-degrees,
        translate=[shift_x_px, shift_y_px],
        scale=1.0,
        shear=[math.degrees(math.atan(shear_x)), math.degrees(math.atan(shear_y))],
        interpolation=InterpolationMode.BILINEAR,
        fill=[fill] * frames.shape[1],
        center=[0.0, 0.0] if about_corner else None,
    )


def posterize(frames: Tensor, bits: float) -> Tensor:
    """Keep the ``bits`` highest bits of every level; 0 is black."""
    return F.posterize(frames, int(bits)) if bits < 8 else frames


def solarize(frames: Tensor, threshold: float) -> Tensor:
    """Invert the levels from ``threshold`` on; 256 inverts none."""
    return F.solarize(frames, threshold) if threshold < _NUM_LEVELS else frames


def solarize_add(frames: Tensor, addition: float, *, below: int = 128) -> Tensor:
    """Add ``addition`` to the levels under ``below``."""
    levels = torch.arange(_NUM_LEVELS)
    table = torch.where(levels < below, (levels + int(addition)).clamp(max=_NUM_LEVELS - 1), levels)
    return table.to(torch.uint8)[frames.int()]


def gaussian_blur(frames: Tensor, sigma_px: float) -> Tensor:
    """Smooth with a Gaussian of standard deviation ``sigma_px``, cut off at three deviations."""
    kernel_px = 2 * math.ceil(3.0 * sigma_px) + 1
    return F.gaussian_blur(frames, [kernel_px, kernel_px], [sigma_px, sigma_px])


def fill_square(frames: Tensor, *, center_x: float, center_y: float, side: float, fill: int = 128) -> Tensor:
    """Cover one square, the same in every frame, with ``fill``; the square is clipped to the frame.

    Args:
        frames: uint8 (T, C, H, W).
        center_x: Position of the centre, as a fraction of the width.
        center_y: Position of the centre, as a fraction of the height.
        side: Side of the square, as a fraction of the height.
        fill: Level of the covered pixels, in 0-255.
    """
    height, width = frames.shape[-2:]
    half_px = side * height / 2.0
    left, right = (int(min(max(center_x * width + d, 0.0), width)) for d in (-half_px, half_px))
    top, bottom = (int(min(max(center_y * height + d, 0.0), height)) for d in (-half_px, half_px))
    filled = frames.clone()
    filled[..., top:bottom, left:right] = fill
    return filled
