"""cross_entropy, focal, binary_cross_entropy, binary_focal: losses of each clip, with class weights.

Axes: B clips, K classes.
"""

import functools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits (B, K) and a target, int64 (B,) or float (B, K), to the loss of each clip (B,)."""


def cross_entropy(
    *, num_classes: int = 0, label_smoothing: float = 0.0, class_weights: Sequence[float] = ()
) -> Loss:
    """Create the loss for one class per clip, or class probabilities that sum to 1.

    Args:
        num_classes: K; equal to the width of the logits.
        label_smoothing: Share of the target that is spread over all classes, in [0, 1).
        class_weights: Factor on the loss of each class, K numbers; empty: 1.
    """
    _check_smoothing(label_smoothing)
    return _Loss(
        functools.partial(F.cross_entropy, reduction="none", label_smoothing=label_smoothing),
        class_weights,
        num_classes,
    )


def focal(
    *,
    num_classes: int,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] = (),
) -> Loss:
    """Create the focal loss: well classified clips count less, for classes of unequal size.

    Source: Lin et al., "Focal Loss for Dense Object Detection", arXiv:1708.02002, equation 5.

    Args:
        num_classes: Number of classes K.
        gamma: Exponent of ``1 - p``, where p is the probability of the label; 0 is the cross entropy.
        label_smoothing: See :func:`cross_entropy`.
        class_weights: See :func:`cross_entropy`; alpha of the paper.
    """
    _check_smoothing(label_smoothing)
    _check_gamma(gamma)
    return _Loss(
        functools.partial(_focal, gamma=gamma, label_smoothing=label_smoothing), class_weights, num_classes
    )


def binary_cross_entropy(*, num_classes: int, class_weights: Sequence[float] = ()) -> Loss:
    """Create the loss for any number of labels per clip: the mean of the classes' binary cross entropies.

    Source: ``bce_logit`` of SlowFast.

    Args:
        num_classes: Number of classes K.
        class_weights: Factor on the loss of each class, K numbers; empty: 1.
    """
    return _Loss(functools.partial(_binary_focal, gamma=0.0), class_weights, num_classes)


def binary_focal(*, num_classes: int, gamma: float = 2.0, class_weights: Sequence[float] = ()) -> Loss:
    """Create the focal loss for any number of labels per clip; see :func:`focal`."""
    _check_gamma(gamma)
    return _Loss(functools.partial(_binary_focal, gamma=gamma), class_weights, num_classes)


def balanced_weights(class_counts: Sequence[int]) -> list[float]:
    """Return weights inversely proportional to the clips of each class, with mean 1 over the clips.

    Args:
        class_counts: Clips of each class; a class without clips gets 1.
    """
    num_present = sum(count > 0 for count in class_counts)
    return [sum(class_counts) / (num_present * count) if count else 1.0 for count in class_counts]


class _Loss(nn.Module):
    """A loss with class weights as a buffer, which moves to the device with the module."""

    class_weights: Tensor | None

    def __init__(self, loss: Callable[..., Tensor], class_weights: Sequence[float], num_classes: int) -> None:
        super().__init__()
        self._loss = loss
        weights = [float(weight) for weight in class_weights]
        if weights and len(weights) != num_classes:
            raise ValueError(f"class_weights must be {num_classes} numbers, got {len(weights)}.")
        if not all(0.0 <= weight < math.inf for weight in weights):
            raise ValueError(f"class_weights must be at least 0 and finite, got {weights}.")
        self.register_buffer("class_weights", torch.tensor(weights) if weights else None)

    def forward(self, logits_BK: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each clip."""
        weights = self.class_weights
        return self._loss(logits_BK, target, weight=None if weights is None else weights.to(logits_BK.dtype))


def _focal(
    logits_BK: Tensor, target: Tensor, *, weight: Tensor | None, gamma: float, label_smoothing: float
) -> Tensor:
    log_BK = F.log_softmax(logits_BK, dim=1)
    num_classes = logits_BK.shape[1]
    share_BK = F.one_hot(target, num_classes).to(log_BK.dtype) if target.ndim == 1 else target
    share_BK = share_BK * (1.0 - label_smoothing) + label_smoothing / num_classes
    losses_BK = -share_BK * (1.0 - log_BK.exp()) ** gamma * log_BK
    return (losses_BK if weight is None else losses_BK * weight).sum(dim=1)


def _binary_focal(logits_BK: Tensor, target_BK: Tensor, *, weight: Tensor | None, gamma: float) -> Tensor:
    losses_BK = F.binary_cross_entropy_with_logits(logits_BK, target_BK, reduction="none", weight=weight)
    if gamma:
        probability_BK = logits_BK.sigmoid()
        missing_BK = target_BK + probability_BK - 2.0 * target_BK * probability_BK
        losses_BK = losses_BK * missing_BK**gamma
    return losses_BK.mean(dim=1)


def _check_smoothing(label_smoothing: float) -> None:
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}.")


def _check_gamma(gamma: float) -> None:
    if not 0.0 <= gamma < math.inf:
        raise ValueError(f"gamma must be at least 0 and finite, got {gamma}.")
