"""results.json and the printed table, for few and many classes, and for several labels."""

import json

import pytest
import torch

from tsn_tsm_plugin.evaluation import Predictions
from tsn_tsm_plugin.runs.results import accuracies, format_results, summarize
from tsn_tsm_plugin.runs.run_folder import RunFolder

TIMES = {"num_bad_videos": 0, "views_per_video": 1, "view_average": "probabilities", "clips_per_second": 1.0}


def predictions_of(scores, label):
    scores = torch.tensor(scores)
    names = [f"{i}.mp4" for i in range(len(scores))]
    return Predictions(torch.arange(len(scores)), names, torch.tensor(label), scores, scores[:, None])


def summarized(scores, label):
    names = [f"class {i}" for i in range(len(scores[0]))]
    return summarize(predictions_of(scores, label), class_names=names, view_average="probabilities")


@pytest.mark.parametrize(("num_classes", "has_top5"), [(2, False), (5, False), (6, True), (400, True)])
def test_top_5_is_skipped_below_six_classes(num_classes, has_top5):
    found = accuracies(predictions_of([[1 / num_classes] * num_classes], [0]), view_average="probabilities")
    assert ("top5" in found) == has_top5


def test_two_classes_have_auc_and_every_number_of_each_class():
    results = summarized([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], [0, 1, 0])

    assert results["auc"] == 100.0
    assert results["balanced_accuracy"] == results["macro_recall"] == 75.0
    assert [(c["precision"], c["recall"]) for c in results["classes"]] == [(100.0, 50.0), (50.0, 100.0)]
    assert results["ece"] == pytest.approx(100 * (0.1 + 0.2 + 0.6) / 3)
    table = format_results({**results, **TIMES, "seconds": 1.0})
    for title in ("mean class", "macro F1", "AUC", "calibration error", "precision"):
        assert title in table
    assert "balanced accuracy" not in table, "it repeats the mean class accuracy"


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


def test_scores_that_are_not_numbers_count_as_wrong_and_leave_no_nan():
    nan = float("nan")
    results = summarized([[nan, nan], [0.1, 0.9], [0.8, 0.2]], [0, 1, 0])

    assert results["top1"] == pytest.approx(200 / 3)
    assert results["confusion_matrix"] == [[1, 1], [0, 1]]
    assert results["loss"] is None
    assert results["ece"] == pytest.approx(15.0)
    json.dumps(results, allow_nan=False)
    assert "nan" not in format_results({**results, **TIMES, "seconds": 1.0})


def test_a_validation_whose_scores_are_all_nan_has_no_hit():
    nan = float("nan")
    results = summarized([[nan, nan, nan]] * 2, [0, 1])

    assert results["top1"] == results["mean_class"] == 0.0
    assert (results["ece"], results["worst_mistakes"]) == (None, [])


def test_results_of_5000_classes_stay_small(tmp_path):
    num_classes, num_videos = 5000, 200
    scores = torch.rand(num_videos, num_classes)
    predictions = Predictions(
        torch.arange(num_videos),
        ["video.mp4"] * num_videos,
        torch.arange(num_videos),
        scores,
        scores[:, None],
    )
    names = [f"class {label}" for label in range(num_classes)]
    results = summarize(predictions, class_names=names, view_average="probabilities")
    folder = RunFolder(tmp_path)
    folder.write_json(folder.results, results)

    assert "confusion_matrix" not in results
    labels, predicted, counts = zip(*results["confusion_cells"], strict=True)
    assert (labels, sum(counts)) == (tuple(range(num_videos)), num_videos)
    assert predicted == tuple(predictions.top1.tolist())
    # 200 bytes for a class and 60 for a cell; the whole matrix would take 215 MiB.
    assert folder.results.stat().st_size < 250 * num_classes + 60 * num_videos
