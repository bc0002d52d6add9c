"""Precision, recall, F1, balanced accuracy, AUC and calibration, by hand."""

import math

import pytest
import torch

from tsn_tsm_plugin.evaluation import balanced_accuracy, binary_auc, calibration, precision_recall_f1

# Class 0: 1 of 2 right; class 1: 1 of 1; class 2: predicted only; class 3: nowhere.
CONFUSION = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_precision_recall_and_f1_of_each_class():
    precision, recall, f1 = precision_recall_f1(CONFUSION)

    assert precision[:3].tolist() == [100.0, 100.0, 0.0] and math.isnan(precision[3])
    assert recall[:2].tolist() == [50.0, 100.0] and recall[2:].isnan().all()
    assert f1[:3].tolist() == pytest.approx([200 / 3, 100.0, 0.0]) and math.isnan(f1[3])


def test_macro_means_run_over_classes_that_occur():
    assert precision_recall_f1(CONFUSION).macro() == pytest.approx((200 / 3, 50.0, 500 / 9))


def test_balanced_accuracy_runs_over_classes_with_videos():
    assert balanced_accuracy(CONFUSION) == 75.0


def test_auc_is_how_often_a_positive_is_above_a_negative_and_a_tie_counts_half():
    scores = torch.tensor([0.9, 0.4, 0.4, 0.1])

    assert binary_auc(scores, torch.tensor([1, 1, 0, 0])) == pytest.approx(100 * 3.5 / 4)
    assert binary_auc(scores, torch.tensor([0, 0, 1, 1])) == pytest.approx(100 * 0.5 / 4)
    assert math.isnan(binary_auc(scores, torch.ones(4, dtype=torch.long)))


def test_calibration_compares_confidence_and_accuracy_in_bins():
    confidence = torch.tensor([0.95, 0.85, 0.95, 0.5, 0.0], dtype=torch.float64)
    is_right = torch.tensor([True, True, False, True, False])
    found = calibration(confidence, is_right, num_bins=10)

    assert found.num_videos == [1, 0, 0, 0, 1, 0, 0, 0, 1, 2]
    assert found.confidence[9] == pytest.approx(0.95) and found.accuracy[9] == 0.5
    assert found.error == pytest.approx(100 * (0.15 + 0.5 + 2 * 0.45) / 5)


def test_calibration_of_certain_and_right_predictions_has_no_error():
    assert calibration(torch.ones(3), torch.ones(3, dtype=torch.bool)).error == 0.0
