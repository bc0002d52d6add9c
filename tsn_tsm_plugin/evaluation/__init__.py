"""Evaluation: metrics, ensembles and dumps of scores."""

from tsn_tsm_plugin.evaluation.class_metrics import (
    balanced_accuracy,
    binary_auc,
    calibration,
    precision_recall_f1,
)
from tsn_tsm_plugin.evaluation.dump import read_dump, write_dump
from tsn_tsm_plugin.evaluation.ensemble import combine
from tsn_tsm_plugin.evaluation.metrics import (
    average_precisions,
    confusion_matrix,
    mean_average_precision,
    mean_class_accuracy,
    topk_accuracy,
)
from tsn_tsm_plugin.evaluation.predictions import Predictions, gather_predictions
from tsn_tsm_plugin.evaluation.views import average_views, split_views

__all__ = [
    "Predictions",
    "average_precisions",
    "average_views",
    "balanced_accuracy",
    "binary_auc",
    "calibration",
    "combine",
    "confusion_matrix",
    "gather_predictions",
    "mean_average_precision",
    "mean_class_accuracy",
    "precision_recall_f1",
    "read_dump",
    "split_views",
    "topk_accuracy",
    "write_dump",
]
