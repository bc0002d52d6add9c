"""Accuracy as the papers count it. All accuracies are in percent.

Axes: B videos, K classes.
"""

import torch
from torch import Tensor


def topk_accuracy(scores_BK: Tensor, label_B: Tensor, *, k: int) -> float:
    """Return the share of videos whose label is among the ``k`` highest scores, in percent.

    Of equal scores the lower class counts as the higher one, so that the result does not depend on a sorting
    algorithm (the references leave ties to an unstable sort). With fewer than ``k`` classes it is 100.

    Args:
        scores_BK: Scores of any kind that grow with the confidence.
        label_B: Labels in [0, K).
        k: At least 1.

    Returns:
        A number in [0, 100]; ``nan`` without videos.
    """
    own_B1 = scores_BK.gather(1, label_B[:, None])
    is_lower_class_BK = torch.arange(scores_BK.shape[1], device=scores_BK.device) < label_B[:, None]
    beats_BK = (scores_BK > own_B1) | ((scores_BK == own_B1) & is_lower_class_BK)
    return _percent(beats_BK.sum(dim=1) < k)


def confusion_matrix(label_B: Tensor, prediction_B: Tensor, *, num_classes: int) -> Tensor:
    """Count videos by true class (rows) and predicted class (columns); int64, (K, K)."""
    cells = label_B * num_classes + prediction_B
    return torch.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class_accuracy(confusion_KK: Tensor) -> Tensor:
    """Return the recall of each class in percent, float64; ``nan`` for a class without videos."""
    return 100.0 * confusion_KK.diagonal().double() / confusion_KK.sum(dim=1).double()


def mean_class_accuracy(confusion_KK: Tensor) -> float:
    """Return the mean of the classes' recalls, in percent.

    As in MMAction2 the mean runs over the classes that occur as label or as prediction; a class that is only
    predicted counts 0.
    """
    occurs_K = (confusion_KK.sum(dim=1) + confusion_KK.sum(dim=0)) > 0
    return per_class_accuracy(confusion_KK).nan_to_num(0.0)[occurs_K].mean().item()


def average_precisions(scores_BK: Tensor, target_BK: Tensor) -> list[float]:
    """Return the average precision of each class, in percent, for videos with several labels.

    The average precision of a class is the sum over the distinct scores, from high to low, of the precision
    at that score times the recall it adds.

    Args:
        scores_BK: Scores of any kind that grow with the confidence.
        target_BK: 1 where the video has the label, else 0.

    Returns:
        K numbers in [0, 100]; ``nan`` for a class without a positive video.
    """
    return [
        100.0 * _average_precision(scores_BK[:, c], target_BK[:, c])
        if target_BK[:, c].any()
        else float("nan")
        for c in range(target_BK.shape[1])
    ]


def mean_average_precision(scores_BK: Tensor, target_BK: Tensor) -> float:
    """Return the mean of :func:`average_precisions` over the classes with a positive video, in percent."""
    return torch.tensor(average_precisions(scores_BK, target_BK), dtype=torch.float64).nanmean().item()


def _average_precision(score_B: Tensor, target_B: Tensor) -> float:
    order_B = score_B.argsort(descending=True, stable=True)
    sorted_B, hit_B = score_B[order_B], target_B[order_B].double()
    # Videos of equal score enter together: only the last of each run of ties is a threshold.
    is_threshold_B = torch.cat([sorted_B[1:] != sorted_B[:-1], torch.ones(1, dtype=torch.bool)])
    found = hit_B.cumsum(0)[is_threshold_B]
    kept = torch.arange(1, len(hit_B) + 1)[is_threshold_B]
    recall_gain = found.diff(prepend=torch.zeros(1, dtype=torch.float64)) / hit_B.sum()
    return (found / kept * recall_gain).sum().item()


def _percent(is_right_B: Tensor) -> float:
    return 100.0 * is_right_B.double().mean().item()
