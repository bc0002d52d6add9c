"""RandAugment: timm's config strings, such as ``rand-m9-mstd0.5-inc1``, with one draw for all frames.

Sources: Cubuk et al., "RandAugment", arXiv:1909.13719; operations, levels and grammar follow timm's
``auto_augment.py``, which SlowFast's ``AUG.AA_TYPE`` also uses. timm draws the filter of its geometric
operations, bilinear or bicubic; torchvision's kernels for tensors are bilinear only.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from tsn_tsm_plugin.transforms import augment_ops as ops
from tsn_tsm_plugin.transforms.augment_ops import FrameOperation, RandomOperations, warp

_MAX_LEVEL = 10.0
_UNIFORM_ABOVE_STD = 100.0


class LeveledOperation(NamedTuple):
    """An operation with its argument at a level in [0, 10].

    Attributes:
        apply: Function from frames and argument to frames.
        strength: Function from level to argument.
        neutral: If given, ``strength`` is added to or subtracted from this argument, with equal chance.
        least: Smallest argument.
    """

    apply: FrameOperation
    strength: Callable[[float], float] = lambda level: 0.0
    neutral: float | None = None
    least: float = -math.inf


def _linear(at_zero: float, at_max: float) -> Callable[[float], float]:
    return lambda level: at_zero + (at_max - at_zero) * (level / _MAX_LEVEL)


def _whole(at_max: int) -> Callable[[float], int]:
    return lambda level: int(level / _MAX_LEVEL * at_max)


def _enhancing(apply: FrameOperation) -> LeveledOperation:
    return LeveledOperation(apply, _linear(0.1, 1.9))


def _enhancing_more(apply: FrameOperation) -> LeveledOperation:
    return LeveledOperation(apply, _linear(0.0, 0.9), neutral=1.0, least=0.1)


OPERATIONS: dict[str, LeveledOperation] = {
    "AutoContrast": LeveledOperation(lambda x, _: F.autocontrast(x)),
    "Equalize": LeveledOperation(lambda x, _: F.equalize(x)),
    "Invert": LeveledOperation(lambda x, _: F.invert(x)),
    "Rotate": LeveledOperation(lambda x, angle: warp(x, degrees=angle), _linear(0.0, 30.0), neutral=0.0),
    "Posterize": LeveledOperation(ops.posterize, _whole(4)),
    "PosterizeIncreasing": LeveledOperation(ops.posterize, lambda level: 4 - _whole(4)(level), least=0.0),
    "Solarize": LeveledOperation(ops.solarize, lambda level: min(256, _whole(256)(level))),
    "SolarizeIncreasing": LeveledOperation(ops.solarize, lambda level: 256 - min(256, _whole(256)(level))),
    "SolarizeAdd": LeveledOperation(ops.solarize_add, lambda level: min(128, _whole(110)(level))),
    "Color": _enhancing(F.adjust_saturation),
    "ColorIncreasing": _enhancing_more(F.adjust_saturation),
    "Contrast": _enhancing(F.adjust_contrast),
    "ContrastIncreasing": _enhancing_more(F.adjust_contrast),
    "Brightness": _enhancing(F.adjust_brightness),
    "BrightnessIncreasing": _enhancing_more(F.adjust_brightness),
    "Sharpness": _enhancing(F.adjust_sharpness),
    "SharpnessIncreasing": _enhancing_more(F.adjust_sharpness),
    "ShearX": LeveledOperation(
        lambda x, shear: warp(x, shear_x=shear, about_corner=True), _linear(0.0, 0.3), neutral=0.0
    ),
    "ShearY": LeveledOperation(
        lambda x, shear: warp(x, shear_y=shear, about_corner=True), _linear(0.0, 0.3), neutral=0.0
    ),
    "TranslateXRel": LeveledOperation(
        lambda x, share: warp(x, shift_x_px=-share * x.shape[-1]), _linear(0.0, 0.45), neutral=0.0
    ),
    "TranslateYRel": LeveledOperation(
        lambda x, share: warp(x, shift_y_px=-share * x.shape[-2]), _linear(0.0, 0.45), neutral=0.0
    ),
    "Desaturate": LeveledOperation(
        lambda x, share: F.adjust_saturation(x, 1.0 - share), lambda level: min(1.0, _linear(0.5, 1.0)(level))
    ),
    "GaussianBlur": LeveledOperation(ops.gaussian_blur, lambda level: min(2.0, _linear(0.1, 2.0)(level))),
}
"""Every operation by timm's name."""

_EXTRA = ("Desaturate", "GaussianBlur")
_PLAIN = [name for name in OPERATIONS if not name.endswith("Increasing") and name not in _EXTRA]
_INCREASING = [f"{name}Increasing" if f"{name}Increasing" in OPERATIONS else name for name in _PLAIN]

_SETS: dict[str, dict[str, float]] = {
    "weights": {
        "Rotate": 3.0,
        **dict.fromkeys(["ShearX", "ShearY"], 2.0),
        **dict.fromkeys(["TranslateXRel", "TranslateYRel"], 1.0),
        **dict.fromkeys(["ColorIncreasing", "SharpnessIncreasing", "AutoContrast"], 0.25),
        **dict.fromkeys(["SolarizeIncreasing", "SolarizeAdd", "ContrastIncreasing"], 0.05),
        **dict.fromkeys(["BrightnessIncreasing", "Equalize", "PosterizeIncreasing", "Invert"], 0.05),
    },
    "3aw": {
        **dict.fromkeys(["SolarizeIncreasing", "Desaturate", "GaussianBlur"], 6.0),
        "Rotate": 3.0,
        **dict.fromkeys(["ShearX", "ShearY"], 2.0),
        **dict.fromkeys(["PosterizeIncreasing", "AutoContrast", "ColorIncreasing"], 1.0),
        **dict.fromkeys(["SharpnessIncreasing", "ContrastIncreasing", "BrightnessIncreasing"], 1.0),
        **dict.fromkeys(["Equalize", "Invert"], 1.0),
    },
}
_SECTION = re.compile(r"(m|mmax)(\d+)|(n)([1-9]\d*)|(p|mstd)(\d+\.?\d*|inf)|(inc)([01])|(t)(weights|3aw?)")

_RULE = (
    "must be 'rand' with sections like m9, n2, p0.5, mstd0.5, mmax10, inc1, tweights, t3a or t3aw, each at "
    "most once, joined by '-'."
)


@dataclass(frozen=True)
class Policy:
    """Parsed config string.

    Attributes:
        operations: Names of the operations to draw from.
        weights: Relative probabilities for drawing without replacement; empty: equal probabilities.
        num_ops: Operations drawn per clip.
        prob: Probability of applying a drawn operation.
        magnitude: Mean level of the operations.
        magnitude_std: Standard deviation of the level; infinite: uniform in [0, magnitude].
        max_level: The level is clamped to [0, max_level].
    """

    operations: tuple[str, ...]
    weights: tuple[float, ...]
    num_ops: int
    prob: float
    magnitude: float
    magnitude_std: float
    max_level: float


def parse_policy(config: str) -> Policy:
    """Read timm's config string of RandAugment.

    Args:
        config: ``rand``, then parts in any order, joined by ``-``, each at most once: ``m9``, magnitude (10);
            ``n2``, number of operations (2); ``p0.5``, probability of each (0.5); ``mstd0.5``, standard
            deviation of the magnitude (0; above 100: uniform from 0 to the magnitude); ``mmax10``, bound of
            the magnitude (10); ``inc1``, operations grow stronger with the magnitude (0); ``tweights``,
            ``t3a`` or ``t3aw``, another set of operations. Defaults are in brackets.

    Raises:
        ValueError: If the string is not of this form, or draws more operations than its set has.
    """
    name, *sections = config.split("-")
    found: dict[str, str] = {}
    for section in sections:
        match = _SECTION.fullmatch(section)
        key, value = (group for group in match.groups() if group) if match else ("", "")
        if not key or key in found:
            raise ValueError(f"{config!r}: {section!r} {_RULE}")
        found[key] = value
    if name != "rand" or not 0.0 <= float(found.get("p", 0.5)) <= 1.0:
        raise ValueError(f"{config!r} {_RULE}")
    weights = _SETS.get(found.get("t", ""), {})
    names = tuple(weights) or tuple(_INCREASING if found.get("inc") == "1" else _PLAIN)
    if found.get("t") == "3a":
        names = ("SolarizeIncreasing", *_EXTRA)
    num_ops = int(found.get("n", 2))
    if weights and num_ops > len(names):
        raise ValueError(f"{config!r}: n must be at most {len(names)}, the operations of t{found['t']}.")
    std = float(found.get("mstd", 0.0))
    return Policy(
        operations=names,
        weights=tuple(weights.values()),
        num_ops=num_ops,
        prob=float(found.get("p", 0.5)),
        magnitude=float(found.get("m", _MAX_LEVEL)),
        magnitude_std=math.inf if std > _UNIFORM_ABOVE_STD else std,
        max_level=float(found.get("mmax", 0)) or _MAX_LEVEL,
    )


class RandAugment(RandomOperations):
    """Apply a few operations drawn at random, each with one argument for all frames of the clip.

    Unlike PyTorchVideo's RandAugment it reads timm's strings, draws from the given generator, and supports
    ``mstd`` and ``inc``.

    Args:
        config: See `parse_policy`; the default is SlowFast's.
    """

    def __init__(self, config: str = "rand-m9-mstd0.5-inc1") -> None:
        super().__init__()
        self.config = config
        self.policy = parse_policy(config)

    def draw(self, generator: torch.Generator | None = None) -> list[tuple[str, float]]:
        """Draw names of operations and their arguments, in the order of their use."""
        policy = self.policy
        chances = torch.tensor(policy.weights or [1.0] * len(policy.operations))
        replacement = not policy.weights
        chosen = torch.multinomial(chances, policy.num_ops, replacement, generator=generator)
        return [
            (name, self._draw_argument(OPERATIONS[name], generator))
            for name in (policy.operations[index] for index in chosen.tolist())
            if _uniform(generator) < policy.prob
        ]

    def apply_operation(self, frames: Tensor, name: str, argument: float) -> Tensor:
        """Apply one operation to frames."""
        return OPERATIONS[name].apply(frames, argument)

    def _draw_argument(self, operation: LeveledOperation, generator: torch.Generator | None) -> float:
        policy = self.policy
        level = policy.magnitude
        if math.isinf(policy.magnitude_std):
            level *= _uniform(generator)
        elif policy.magnitude_std > 0.0:
            level += policy.magnitude_std * float(torch.randn((), generator=generator))
        argument = operation.strength(max(0.0, min(level, policy.max_level)))
        if operation.neutral is not None:
            sign = 1.0 if _uniform(generator) < 0.5 else -1.0
            argument = operation.neutral + sign * argument
        return max(operation.least, argument)


def _uniform(generator: torch.Generator | None) -> float:
    return float(torch.rand((), generator=generator))
