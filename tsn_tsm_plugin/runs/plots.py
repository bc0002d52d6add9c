"""plot_curves, plot_confusion_matrix, plot_calibration: plots of a run as PNG files."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from tsn_tsm_plugin.atomic_files import HINT_RUN, replace_when_whole
from tsn_tsm_plugin.safe_text import plot_text

_TRAIN, _VALIDATION, _GREY = "#4878a8", "#d1603d", "#5a5a5a"
# With more classes, names and counts do not fit into the plot.
_MOST_NAMED, _MOST_COUNTED = 60, 20


def plot_curves(records: list[dict[str, Any]], path: Path) -> None:
    """Draw loss, top-1 and learning rate over epochs.

    Args:
        records: Records of ``metrics.jsonl``; nothing is drawn without training records.
        path: PNG file to write.
    """
    train = [r for r in records if "train/loss" in r]
    validation = [r for r in records if "val/top1" in r]
    if not train:
        return
    epoch_of_step = step_to_epoch(records)
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    loss_axes, top1_axes, lr_axes = figure.subplots(1, 3)
    for axes, name in ((loss_axes, "loss"), (top1_axes, "top1")):
        _line(axes, train, f"train/{name}", epoch_of_step, _TRAIN, "training")
        _line(axes, validation, f"val/{name}", epoch_of_step, _VALIDATION, "validation", marker="o")
    # A record holds the rate since the previous record.
    _line(lr_axes, train, "train/lr", epoch_of_step, _GREY, "", drawstyle="steps-pre")
    top1_axes.set_ylim(0, 100)
    loss_axes.set_ylim(bottom=0)
    lr_axes.set_ylim(bottom=0)
    for axes, title in ((loss_axes, "Loss"), (top1_axes, "Top-1, %"), (lr_axes, "Learning rate")):
        axes.set_title(title, fontsize=11, loc="left", fontweight="bold")
        axes.set_xlabel("epoch", color=_GREY)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.25, linewidth=0.6)
        _tidy(axes)
    if validation:
        loss_axes.legend(frameon=False, fontsize=9)
        last = validation[-1]
        top1_axes.annotate(
            f"{last['val/top1']:.1f}",
            (epoch_of_step[last["step"]], last["val/top1"]),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=_VALIDATION,
        )
    _save(figure, path)


def step_to_epoch(records: list[dict[str, Any]]) -> dict[int, float]:
    """Map each step to its time in epochs; the length of an epoch may change on resume."""
    steps: dict[int, list[int]] = {}
    for record in records:
        steps.setdefault(record["epoch"], []).append(record["step"])
    ended = {record["epoch"] for record in records if "epoch/loss" in record}
    epoch_of_step: dict[int, float] = {}
    before, start, length = 0, 0, 1.0
    for epoch in sorted(steps):
        last = max(steps[epoch])
        whole = (last - start) / (epoch - before)
        # Assume that an unfinished epoch has the length of the previous epoch.
        length = whole if epoch in ended or not before else max(whole, length)
        epoch_of_step |= {step: before + (step - start) / length for step in steps[epoch] if step > start}
        before, start = epoch, last
    return epoch_of_step


def _line(
    axes: Axes,
    records: list[dict[str, Any]],
    key: str,
    epoch_of_step: dict[int, float],
    colour: str,
    label: str,
    **style: Any,
) -> None:
    points = [(epoch_of_step[r["step"]], r[key]) for r in records if r.get(key) is not None]
    if points:
        epochs, values = zip(*points, strict=True)
        style = {"marker": "" if len(values) > 1 else "o"} | style
        axes.plot(epochs, values, color=colour, label=label, linewidth=1.6, markersize=4, **style)


def plot_confusion_matrix(confusion_KK: Tensor, class_names: list[str], path: Path) -> None:
    """Draw the confusion matrix, each row as proportions of the true class.

    Args:
        confusion_KK: Counts, rows are true classes.
        class_names: K names.
        path: PNG file to write.
    """
    counts = confusion_KK.numpy()
    num_classes = len(class_names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(4.5, 0.5 * num_classes + 2.2), 13.0)
    figure = Figure(figsize=(side + 0.9, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.75, pad=0.02)
    bar.set_label("share of the true class, %", color=_GREY)
    bar.outline.set_visible(False)
    axes.set_xlabel("predicted", color=_GREY)
    axes.set_ylabel("true", color=_GREY)
    accuracy = 100 * np.trace(counts) / max(counts.sum(), 1)
    axes.set_title(
        f"{counts.sum()} videos, top-1 {accuracy:.1f} %", fontsize=11, loc="left", fontweight="bold"
    )
    if num_classes <= _MOST_NAMED:
        size = 9 if num_classes <= _MOST_COUNTED else 6
        names = [plot_text(name) for name in class_names]
        axes.set_xticks(range(num_classes), names, rotation=45, ha="right", fontsize=size)
        axes.set_yticks(range(num_classes), names, fontsize=size)
    if num_classes <= _MOST_COUNTED:
        _write_counts(axes, counts, shares)
    axes.tick_params(length=0)
    _tidy(axes, keep=())
    _save(figure, path)


def plot_calibration(calibration: dict[str, list[float]], error: float, path: Path) -> None:
    """Draw the accuracy over the confidence, and the number of videos in each bin.

    Args:
        calibration: ``num_videos``, ``confidence`` and ``accuracy`` of each bin, as in
            ``results.json``; the bins divide [0, 1] into equal parts.
        error: Expected calibration error, %.
        path: PNG file to write.
    """
    counts = np.asarray(calibration["num_videos"])
    width = 100.0 / len(counts)
    centre = width * (np.arange(len(counts)) + 0.5)
    filled = counts > 0
    figure = Figure(figsize=(4.6, 5.2), layout="constrained")
    axes, count_axes = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.bar(centre, 100 * np.asarray(calibration["accuracy"]), 0.92 * width, color=_TRAIN, label="accuracy")
    axes.plot([0, 100], [0, 100], color=_GREY, linewidth=1, linestyle="--", label="perfectly calibrated")
    mean = 100 * np.asarray(calibration["confidence"])[filled]
    axes.plot(mean, mean, ".", color=_VALIDATION, label="mean confidence")
    axes.set_title(f"Expected calibration error {error:.1f} %", fontsize=11, loc="left", fontweight="bold")
    axes.set_ylabel("accuracy, %", color=_GREY)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    count_axes.bar(centre, counts, 0.92 * width, color=_GREY)
    count_axes.set_ylabel("videos", color=_GREY)
    count_axes.set_xlabel("confidence of the prediction, %", color=_GREY)
    for part in (axes, count_axes):
        _tidy(part)
    _save(figure, path)


def _write_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "#333333"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=9, color=colour)


def _tidy(axes: Axes, *, keep: tuple[str, ...] = ("left", "bottom")) -> None:
    for side, spine in axes.spines.items():
        spine.set_visible(side in keep)
        spine.set_color("#bbbbbb")
    axes.tick_params(colors="#444444", labelsize=9)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with replace_when_whole(path, hint=HINT_RUN) as unfinished:
        figure.savefig(unfinished, dpi=130, facecolor="white")
