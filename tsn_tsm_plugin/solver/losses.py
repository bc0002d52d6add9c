"""cross_entropy, binary_cross_entropy: losses of each clip.

Axes: B clips, K classes.
"""

import functools
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits (B, K) and a target, int64 (B,) or float (B, K), to the loss of each clip (B,)."""


def cross_entropy(*, num_classes: int = 0, label_smoothing: float = 0.0) -> Loss:
    """Create the loss of classes of which a clip has one, or shares that sum to 1.

    Args:
        num_classes: K; the logits tell it too.
        label_smoothing: Share of the target that is spread over all classes, in [0, 1).
    """
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}.")
    return functools.partial(F.cross_entropy, reduction="none", label_smoothing=label_smoothing)


def binary_cross_entropy(*, num_classes: int) -> Loss:
    """Create the loss of classes of which a clip has any number: the mean over those, each on its own.

    Source: ``bce_logit`` of SlowFast.

    Args:
        num_classes: K.
    """
    return _mean_over_classes


def _mean_over_classes(logits_BK: Tensor, target_BK: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits_BK, target_BK, reduction="none").mean(dim=1)
