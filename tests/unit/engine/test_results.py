"""What results.json and the printed table hold, for few and many classes, and for several labels."""

import pytest
import torch

from tsn_tsm_plugin.evaluation import Predictions
from tsn_tsm_plugin.runs.results import accuracies, format_results, summarize

TIMES = {"num_bad_videos": 0, "views_per_video": 1, "view_average": "probabilities", "clips_per_second": 1.0}


def predictions_of(scores, label):
    scores = torch.tensor(scores)
    names = [f"{i}.mp4" for i in range(len(scores))]
    return Predictions(torch.arange(len(scores)), names, torch.tensor(label), scores, scores[:, None])


def summarized(scores, label):
    names = [f"class {i}" for i in range(len(scores[0]))]
    return summarize(predictions_of(scores, label), class_names=names, view_average="probabilities")


@pytest.mark.parametrize(("num_classes", "has_top5"), [(2, False), (5, False), (6, True), (400, True)])
def test_top_5_is_left_out_below_six_classes(num_classes, has_top5):
    found = accuracies(predictions_of([[1 / num_classes] * num_classes], [0]), view_average="probabilities")
    assert ("top5" in found) == has_top5


def test_two_classes_have_auc_and_every_number_of_each_class():
    results = summarized([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], [0, 1, 0])

    assert results["auc"] == 100.0
    assert results["balanced_accuracy"] == results["macro_recall"] == 75.0
    assert [(c["precision"], c["recall"]) for c in results["classes"]] == [(100.0, 50.0), (50.0, 100.0)]
    assert results["ece"] == pytest.approx(100 * (0.1 + 0.2 + 0.6) / 3)
    table = format_results({**results, **TIMES, "seconds": 1.0})
    for title in ("balanced accuracy", "macro F1", "AUC", "calibration error", "precision"):
        assert title in table


def test_three_classes_have_no_auc_and_what_is_undefined_is_null():
    results = summarized([[0.9, 0.1, 0.0], [0.8, 0.1, 0.1]], [0, 1])

    assert "auc" not in results
    assert [c["precision"] for c in results["classes"]] == [50.0, None, None]
    assert "class 1" in format_results({**results, **TIMES, "seconds": 1.0})


def test_a_video_without_a_label_is_a_negative_and_has_no_right_answer():
    scores = [[0.9, 0.2], [0.8, 0.1], [0.1, 0.7]]
    results = summarized(scores, [[1, 0], [0, 0], [0, 1]])

    assert results["top1"] == 100.0
    assert results["map"] == 100.0
    assert summarized(scores, [[0, 0], [1, 0], [0, 1]])["map"] == pytest.approx(75.0)


def test_the_worst_clips_with_several_labels_show_a_class_that_is_not_there():
    results = summarized([[0.9, 0.2], [0.8, 0.1], [0.1, 0.7]], [[1, 0], [0, 0], [0, 1]])

    (worst,) = results["worst_mistakes"]
    assert (worst["video_index"], worst["prediction"], worst["label"]) == (1, "class 0", "none of them")
