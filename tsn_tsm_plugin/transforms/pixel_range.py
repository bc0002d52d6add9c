"""white_level, to_255, to_levels, on_levels, OnLevels: detection of the range of a clip's pixels.

uint8 implies 0-255. Floats may be in 0-255, as from PyTorchVideo's datasets, or in 0-1, as after ``Div255``.
An operation for one range destroys clips of the other. The range is detected from the values; ambiguous
values are refused. Axes: C channels, T frames, H rows, W columns.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

_WHITE = 255.0


def white_level(video: Tensor) -> float:
    """Return the value of white in a clip: 255.0 or 1.0.

    Integers are levels of 0-255. Floats are levels if any is at least 2, or if all are whole and any is
    above 1. Floats are fractions of 0-1 if none is above 1 and not all are whole.

    Args:
        video: Pixels of any shape.

    Raises:
        TypeError: If the pixels are outside both ranges, or fit both.
    """
    if video.dtype == torch.uint8:
        return _WHITE
    low, high = _checked_bounds(video)
    if not video.is_floating_point() or high >= 2.0 or (high > 1.0 and _is_whole(video)):
        return _WHITE
    if high <= 1.0 and not _is_whole(video):
        return 1.0
    raise TypeError(
        f"video must be uint8, float in 0-255 or float in 0-1, got {video.dtype} from {low:g} to {high:g}, "
        "which fits both ranges. Pass uint8."
    )


def to_255(video: Tensor) -> Tensor:
    """Return a clip in 0-255: the clip itself, or fractions of 0-1 times 255. Whole numbers are levels.

    Args:
        video: uint8, float in 0-255 or float in 0-1, of any shape.

    Raises:
        TypeError: If the pixels are outside both ranges, or fit both.
    """
    if video.dtype == torch.uint8:
        return video
    _checked_bounds(video)
    # A decoder's black frame has only the levels 0 and 1; such a clip must not end a training run.
    is_255 = _is_whole(video) or white_level(video) == _WHITE
    return video if is_255 else video.float() * _WHITE


def to_levels(video: Tensor) -> Tensor:
    """Return a clip as uint8: `to_255`, rounded to the nearest level."""
    return video if video.dtype == torch.uint8 else to_255(video).round().to(torch.uint8)


def on_levels(operation: Callable[[Tensor], Tensor], video: Tensor) -> Tensor:
    """Apply an operation on uint8 to a clip; return the result in the clip's own dtype and range.

    Raises:
        TypeError: See `white_level`.
    """
    if video.dtype == torch.uint8:
        return operation(video)
    white = white_level(video)
    return (operation(to_levels(video)).float() * (white / _WHITE)).to(video.dtype)


class OnLevels(nn.Module):
    """Apply a transform of levels 0-255 to a clip of any range; return the range that the next step expects.

    Args:
        transform: Function or module that maps uint8 (C, T, H, W) to uint8 (C, T', H', W').
        are_scaled_after: Whether ``ConvertUint8ToFloat`` follows; if so, the result is uint8.
        is_mean_in_levels: Whether the next normalisation has a mean in 0-255; if so, the result is a float in
            0-255. Otherwise clip and result are floats in 0-1.
    """

    def __init__(
        self, transform: nn.Module, *, are_scaled_after: bool = True, is_mean_in_levels: bool = False
    ) -> None:
        super().__init__()
        self.transform = transform
        self.are_scaled_after = are_scaled_after
        self.is_mean_in_levels = is_mean_in_levels

    def forward(self, video: Tensor) -> Tensor:
        """Map a clip (C, T, H, W) to (C, T', H', W').

        Raises:
            TypeError: If the clip is in neither range, or has levels that no step will scale.
        """
        if self.are_scaled_after or self.is_mean_in_levels:
            levels: Tensor = self.transform(to_levels(video))
            return levels if self.are_scaled_after else levels.float()
        if not video.is_floating_point() or float(video.max()) > 1.0:
            raise TypeError(
                f"The clip holds levels of 0-255 ({video.dtype}), but video_mean is of values in 0-1: pass "
                "convert_to_float=True."
            )
        changed: Tensor = self.transform(to_levels(video * 255.0))
        return changed.to(video.dtype) / 255.0


def _checked_bounds(video: Tensor) -> tuple[float, float]:
    """Return the least and the greatest value of a clip whose values are in 0-255."""
    low, high = math.nan, math.nan
    if video.dtype != torch.bool and not video.is_complex() and video.numel():
        low, high = (float(bound) for bound in torch.aminmax(video))
    if not (low >= 0.0 and high <= _WHITE):
        raise TypeError(
            f"video must be uint8, float in 0-255 or float in 0-1, got {video.dtype} from {low:g} to "
            f"{high:g}. Transform clips before they are normalised."
        )
    return low, high


def _is_whole(video: Tensor) -> bool:
    return not video.is_floating_point() or bool((video == video.round()).all())
