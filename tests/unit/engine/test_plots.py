"""Plots are drawn for few and many classes, and for runs that were never validated."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from tsn_tsm_plugin.runs.plots import (
    plot_calibration,
    plot_confusion_matrix,
    plot_curves,
    step_to_epoch,
)

RECORDS = [
    {"step": step, "epoch": 1, "train/loss": 1 / step, "train/top1": 10.0 * step, "train/lr": 0.1}
    for step in (1, 2, 3)
]
PNG = b"\x89PNG"


@pytest.mark.parametrize("validated", [True, False])
def test_curves_are_drawn_with_and_without_validation(tmp_path, validated):
    validation = [{"step": 3, "epoch": 1, "val/loss": 0.5, "val/top1": 50.0}] if validated else []
    plot_curves(RECORDS + validation, tmp_path / "curves.png")

    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)


def test_a_single_record_is_a_visible_dot(tmp_path):
    plot_curves(RECORDS[:1], tmp_path / "curves.png")

    pixels = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).astype(int)
    assert (pixels[..., 2] - pixels[..., 0] > 60).any(), "no blue dot"


def test_a_loss_that_was_not_finite_does_not_break_the_curves(tmp_path):
    plot_curves([*RECORDS, {**RECORDS[0], "step": 4, "train/loss": None}], tmp_path / "curves.png")

    assert (tmp_path / "curves.png").exists()


def test_steps_lie_in_their_epochs_even_if_these_differ_in_length():
    records = [
        *({"step": step, "epoch": 1} for step in (1, 2, 3, 4)),
        {"step": 4, "epoch": 1, "epoch/loss": 1.0},
        *({"step": step, "epoch": 2} for step in (5, 6)),
        {"step": 6, "epoch": 2, "epoch/loss": 1.0},
        {"step": 7, "epoch": 3},
    ]
    epochs = step_to_epoch(records)
    assert epochs == {1: 0.25, 2: 0.5, 3: 0.75, 4: 1.0, 5: 1.5, 6: 2.0, 7: 2.5}


def test_nothing_is_drawn_of_nothing(tmp_path):
    plot_curves([], tmp_path / "curves.png")

    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("num_classes", [2, 174])
def test_a_confusion_matrix_is_drawn_for_few_and_many_classes(tmp_path, num_classes):
    names = [f"class {i}" for i in range(num_classes)]
    plot_confusion_matrix(torch.eye(num_classes, dtype=torch.int64), names, tmp_path / "matrix.png")

    assert (tmp_path / "matrix.png").read_bytes().startswith(PNG)


def test_a_drop_of_the_learning_rate_is_drawn_where_it_happens(tmp_path, monkeypatch):
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k)))
    rates = (0.1, 0.1, 0.1, 0.1, 0.01, 0.01)  # the third epoch, steps 5 and 6, learns at a tenth
    records = [
        {"step": step, "epoch": (step + 1) // 2, "train/loss": 1.0, "train/lr": rate}
        for step, rate in enumerate(rates, start=1)
    ]
    ended = [{"step": 2 * epoch, "epoch": epoch, "epoch/loss": 1.0} for epoch in (1, 2, 3)]
    plot_curves(records + ended, tmp_path / "curves.png")

    (line,) = drawn[0].axes[2].lines
    corners = line.get_path().vertices
    x, y = (corners[:, axis] for axis in (0, 1))
    assert set(x[1:][(y[1:] - y[:-1]) < 0]) == {2.0}


def test_a_calibration_is_drawn_with_empty_bins(tmp_path):
    bins = {"num_videos": [0, 3], "confidence": [0.0, 0.9], "accuracy": [0.0, 0.7]}
    plot_calibration(bins, 20.0, tmp_path / "calibration.png")

    assert (tmp_path / "calibration.png").read_bytes().startswith(PNG)
