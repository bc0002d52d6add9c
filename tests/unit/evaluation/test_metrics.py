"""Accuracies, by hand."""

import math

import pytest
import torch

from tsn_tsm_plugin.evaluation import (
    average_precisions,
    confusion_matrix,
    mean_average_precision,
    mean_class_accuracy,
    topk_accuracy,
)


def test_a_label_counts_when_it_is_among_the_k_highest():
    scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.3, 0.3, 0.4]])
    label = torch.tensor([1, 1, 0, 2])

    assert [topk_accuracy(scores, label, k=k) for k in (1, 2, 3)] == [50.0, 75.0, 100.0]


def test_a_constant_model_is_right_for_the_first_class_only():
    scores = torch.zeros(4, 4)

    assert topk_accuracy(scores, torch.arange(4), k=1) == 25.0
    assert topk_accuracy(scores, torch.arange(4), k=2) == 50.0


def test_ties_among_many_classes_are_won_by_the_lower_class():
    scores = torch.zeros(100, 100)

    for k in (1, 5):
        assert [topk_accuracy(scores[:1], torch.tensor([c]), k=k) for c in (0, k - 1, k)] == [
            100.0,
            100.0,
            0.0,
        ]


def test_scores_that_are_not_numbers_are_never_right():
    scores = torch.full((2, 4), math.nan)
    scores[1, 0] = 1.0

    assert topk_accuracy(scores, torch.tensor([0, 0]), k=1) == 0.0


def test_top_5_of_fewer_classes_is_100():
    assert topk_accuracy(torch.zeros(3, 3), torch.arange(3), k=5) == 100.0


def test_rows_of_the_confusion_matrix_are_true_classes():
    confusion = confusion_matrix(torch.tensor([0, 0, 1]), torch.tensor([2, 0, 1]), num_classes=3)

    assert confusion.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_mean_class_accuracy_weighs_classes_and_counts_a_class_only_predicted_as_zero():
    # Class 0: 1 of 2, class 1: 1 of 1, class 2: predicted but without videos, class 3: nowhere.
    label, prediction = torch.tensor([0, 0, 1]), torch.tensor([2, 0, 1])

    assert mean_class_accuracy(label, prediction, num_classes=4) == pytest.approx((50 + 100 + 0) / 3)


def test_average_precision_is_the_area_under_the_steps():
    # Ranked: hit, miss, hit -> 1 * 1/2 + 2/3 * 1/2.
    scores = torch.tensor([[0.9], [0.8], [0.7]])
    target = torch.tensor([[1], [0], [1]])

    assert mean_average_precision(scores, target) == pytest.approx(100 * (0.5 + 1 / 3))


def test_videos_of_equal_score_enter_the_average_precision_together():
    for target in ([1, 0], [0, 1]):
        assert mean_average_precision(torch.zeros(2, 1), torch.tensor(target)[:, None]) == pytest.approx(50.0)


def test_classes_without_a_positive_video_do_not_count():
    scores = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    target = torch.tensor([[1.0, 0.0], [0.0, 0.0]])

    assert average_precisions(scores, target)[0] == 100.0
    assert math.isnan(average_precisions(scores, target)[1])
    assert mean_average_precision(scores, target) == pytest.approx(100.0)
