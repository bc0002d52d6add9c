"""topk_accuracy, mean_class_accuracy, average_precisions, ...: accuracies as in the papers.

All accuracies are in percent.

torchmetrics is used if its definition agrees. It is imported lazily: its import takes seconds.

Axes: B videos, K classes.
"""

import torch
from torch import Tensor


def topk_accuracy(scores_BK: Tensor, label_B: Tensor, *, k: int) -> float:
    """Return the percentage of videos whose label is among the ``k`` highest scores.

    Ties are ranked by ascending class, so that the result does not depend on a sorting algorithm. The
    references and torchmetrics sort ties unstably: torchmetrics' ``topk`` of 100 equal scores begins with
    class 65. torchmetrics also refuses fewer than ``k`` classes; this function then returns 100.

    Args:
        scores_BK: Scores of any kind that grow with the confidence.
        label_B: Labels in [0, K).
        k: Number of highest scores, at least 1.

    Returns:
        A number in [0, 100]; ``nan`` without videos.
    """
    own_B1 = scores_BK.gather(1, label_B[:, None])
    is_lower_class_BK = torch.arange(scores_BK.shape[1], device=scores_BK.device) < label_B[:, None]
    # Count lower scores: NaN compares false both ways and must not count as a hit.
    is_below_BK = (scores_BK < own_B1) | ((scores_BK == own_B1) & ~is_lower_class_BK)
    return 100.0 * ((~is_below_BK).sum(dim=1) < k).double().mean().item()


def confusion_matrix(label_B: Tensor, prediction_B: Tensor, *, num_classes: int) -> Tensor:
    """Count videos by true class (rows) and predicted class (columns); int64, (K, K)."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    return multiclass_confusion_matrix(prediction_B, label_B, num_classes=num_classes)


def mean_class_accuracy(label_B: Tensor, prediction_B: Tensor, *, num_classes: int) -> float:
    """Return the mean of the classes' recalls, in percent.

    As in MMAction2, average over the classes that occur as label or as prediction; a class that is only
    predicted counts as 0.
    """
    from torchmetrics.functional.classification import multiclass_accuracy

    return 100.0 * multiclass_accuracy(prediction_B, label_B, num_classes=num_classes, average="macro").item()


def average_precisions(scores_BK: Tensor, target_BK: Tensor) -> list[float]:
    """Return the average precision of each class, in percent, for videos with several labels.

    The average precision of a class is a sum over the distinct scores, from high to low. Each score
    contributes the precision at that score times the recall that it adds.

    Args:
        scores_BK: Scores in [0, 1] that grow with the confidence. Other scores go through a sigmoid, which
        makes large scores equal.
        target_BK: 1 if the video has the label, otherwise 0.

    Returns:
        K numbers in [0, 100]; ``nan`` for a class without a positive video.
    """
    from torchmetrics.functional.classification import binary_average_precision

    # Class by class: the multi-label function gives 0 for a class without a positive video.
    return [
        100.0 * binary_average_precision(score_B, target_B).item() if target_B.any() else float("nan")
        for score_B, target_B in zip(scores_BK.unbind(1), target_BK.long().unbind(1), strict=True)
    ]


def mean_average_precision(scores_BK: Tensor, target_BK: Tensor) -> float:
    """Return the mean of :func:`average_precisions` over the classes with a positive video, in percent."""
    return torch.tensor(average_precisions(scores_BK, target_BK), dtype=torch.float64).nanmean().item()
