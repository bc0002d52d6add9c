"""precision_recall_f1, balanced_accuracy, binary_auc, calibration: metrics for few classes.

All values except the bins of a calibration are in percent. Axes: B videos, K classes.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

NUM_BINS = 15
"""Bins of a calibration, as in Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599."""


class PrecisionRecall(NamedTuple):
    """Precision, recall and F1 of each class in percent, float64 (K,).

    Recall is ``nan`` for a class without videos, precision for a class without predictions, and F1 for a
    class with neither.
    """

    precision: Tensor
    recall: Tensor
    f1: Tensor

    def macro(self) -> tuple[float, float, float]:
        """Return the means over the classes that occur as label or as prediction.

        ``nan`` of such a class counts as 0, as in scikit-learn and MMAction2.
        """
        occurs_K = ~self.f1.isnan()
        precision, recall, f1 = (values_K[occurs_K].nan_to_num(0.0).mean().item() for values_K in self)
        return precision, recall, f1


def precision_recall_f1(confusion_KK: Tensor) -> PrecisionRecall:
    """Return precision, recall and F1 of each class.

    Args:
        confusion_KK: Counts; rows are true classes, columns are predicted classes.
    """
    right_K = 100.0 * confusion_KK.diagonal().double()
    labels_K, predictions_K = confusion_KK.sum(dim=1).double(), confusion_KK.sum(dim=0).double()
    return PrecisionRecall(
        right_K / predictions_K, right_K / labels_K, 2.0 * right_K / (labels_K + predictions_K)
    )


def balanced_accuracy(confusion_KK: Tensor) -> float:
    """Return the mean recall of the classes that have videos, in percent; ``nan`` without videos.

    Source: scikit-learn's ``balanced_accuracy_score``. A class that is only predicted does not count.
    """
    return precision_recall_f1(confusion_KK).recall.nanmean().item()


def binary_auc(score_B: Tensor, label_B: Tensor) -> float:
    """Return the area under the ROC curve in percent: how often positive videos score above negative videos.

    Args:
        score_B: Probabilities of class 1; a pair with equal scores counts half.
        label_B: Labels, 0 or 1.

    Returns:
        A number in [0, 100]; ``nan`` if a class has no video.
    """
    if len(label_B.unique()) < 2:
        return float("nan")
    from torchmetrics.functional.classification import binary_auroc

    return 100.0 * binary_auroc(score_B, label_B).item()


@dataclass(frozen=True)
class Calibration:
    """Accuracy of predictions by confidence.

    Attributes:
        error: Expected calibration error (ECE) in percent: the mean distance of confidence and accuracy over
            the bins, each weighted by its videos; ``nan`` without videos.
        num_videos: Videos of each bin; the bins divide [0, 1] into equal parts.
        confidence: Mean confidence of each bin in [0, 1]; 0 for an empty bin.
        accuracy: Accuracy of each bin in [0, 1]; 0 for an empty bin.
    """

    error: float
    num_videos: list[int]
    confidence: list[float]
    accuracy: list[float]


def calibration(confidence_B: Tensor, is_right_B: Tensor, *, num_bins: int = NUM_BINS) -> Calibration:
    """Compare confidences with accuracies, bin by bin.

    Source: Guo et al., arXiv:1706.04599, equation 3.

    Args:
        confidence_B: Probability of the predicted class, in [0, 1].
        is_right_B: Whether the prediction is the label.
        num_bins: Equal parts of [0, 1]; a confidence at an edge belongs to the lower bin.
    """
    bin_B = (confidence_B.double() * num_bins).ceil().long().sub(1).clamp(0, num_bins - 1)
    count = torch.zeros(num_bins, dtype=torch.float64).index_add(0, bin_B, torch.ones(len(bin_B)).double())
    confidence = torch.zeros(num_bins, dtype=torch.float64).index_add(0, bin_B, confidence_B.double())
    right = torch.zeros(num_bins, dtype=torch.float64).index_add(0, bin_B, is_right_B.double())
    error = 100.0 * (confidence - right).abs().sum().item() / len(bin_B) if len(bin_B) else float("nan")
    divisor = count.clamp_min(1.0)
    return Calibration(
        error, count.long().tolist(), (confidence / divisor).tolist(), (right / divisor).tolist()
    )
