"""ImgaugRandAugment: MMAction2's Something-Something augmentation, two of fifteen operations per clip.

MMAction2 calls it ``Imgaug(transforms="default")``; the operations are imgaug's, at magnitude 9 of 10.
MMAction2 draws the direction of the five geometric operations once per run. Here the direction is drawn for
each clip, as in RandAugment (arXiv:1909.13719, section 3). Factors of the enhancing operations are always
above 1, as in MMAction2.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from tsn_tsm_plugin.transforms import augment_ops as ops
from tsn_tsm_plugin.transforms.augment_ops import FrameOperation, RandomOperations, warp

_LEVEL = 0.9
_ENHANCEMENT = 1.8 * _LEVEL + 0.1
_CUTOUT_SIDE = 0.2 * _LEVEL
_NUM_OPS = 2


class FixedOperation(NamedTuple):
    """An operation and its argument; signed operations negate the argument half of the time."""

    apply: FrameOperation
    strength: float = 0.0
    is_signed: bool = False


def _shift_x(frames: Tensor, share: float) -> Tensor:
    return warp(frames, shift_x_px=round(share * frames.shape[-1]), fill=0.0)


def _shift_y(frames: Tensor, share: float) -> Tensor:
    return warp(frames, shift_y_px=round(share * frames.shape[-2]), fill=0.0)


_SHEAR = math.tan(math.radians(17.19 * _LEVEL))

OPERATIONS: dict[str, FixedOperation] = {
    "ShearX": FixedOperation(lambda x, shear: warp(x, shear_x=shear, fill=0.0), _SHEAR, is_signed=True),
    "ShearY": FixedOperation(lambda x, shear: warp(x, shear_y=shear, fill=0.0), _SHEAR, is_signed=True),
    "TranslateX": FixedOperation(_shift_x, 0.2 * _LEVEL, is_signed=True),
    "TranslateY": FixedOperation(_shift_y, 0.2 * _LEVEL, is_signed=True),
    "Rotate": FixedOperation(
        lambda x, angle: warp(x, degrees=angle, fill=0.0), 30.0 * _LEVEL, is_signed=True
    ),
    "Posterize": FixedOperation(ops.posterize, 3),
    "Solarize": FixedOperation(ops.solarize, int(256 * _LEVEL)),
    "Color": FixedOperation(F.adjust_saturation, _ENHANCEMENT),
    "Contrast": FixedOperation(F.adjust_contrast, _ENHANCEMENT),
    "Brightness": FixedOperation(F.adjust_brightness, _ENHANCEMENT),
    "Sharpness": FixedOperation(F.adjust_sharpness, _ENHANCEMENT),
    "AutoContrast": FixedOperation(lambda x, _: F.autocontrast(x)),
    "Equalize": FixedOperation(lambda x, _: F.equalize(x)),
    "Invert": FixedOperation(lambda x, _: F.invert(x)),
}
"""Fourteen operations in the reference's order; the fifteenth, Cutout, has a place instead of a strength."""

NAMES = (*OPERATIONS, "Cutout")


class ImgaugRandAugment(RandomOperations):
    """Apply two different operations of the fifteen, in list order, to all frames of the clip alike."""

    def draw(self, generator: torch.Generator | None = None) -> list[tuple[str, tuple[float, ...]]]:
        """Draw names and arguments: a signed strength, or the centre (x, y) of Cutout's square, in [0, 1]."""
        chosen = torch.randperm(len(NAMES), generator=generator)[:_NUM_OPS].sort().values
        return [(NAMES[index], self._draw_arguments(NAMES[index], generator)) for index in chosen.tolist()]

    def apply_operation(self, frames: Tensor, name: str, argument: tuple[float, ...]) -> Tensor:
        """Apply one operation to frames."""
        if name == "Cutout":
            x, y = argument
            return ops.fill_square(frames, center_x=x, center_y=y, side=_CUTOUT_SIDE)
        return OPERATIONS[name].apply(frames, *argument)

    @staticmethod
    def _draw_arguments(name: str, generator: torch.Generator | None) -> tuple[float, ...]:
        if name == "Cutout":
            return tuple(torch.rand(2, generator=generator).tolist())
        operation = OPERATIONS[name]
        is_negative = operation.is_signed and float(torch.rand((), generator=generator)) < 0.5
        return (-operation.strength if is_negative else operation.strength,)
