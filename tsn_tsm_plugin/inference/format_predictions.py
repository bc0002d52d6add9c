"""Predictions as a table, JSON or CSV."""

import csv
import io
import json
from collections.abc import Sequence

from tabulate import tabulate

from tsn_tsm_plugin.inference.trained_model import TrainedModel
from tsn_tsm_plugin.inference.video_predictor import VideoPrediction

FORMATS = ("table", "json", "csv")


def format_predictions(
    predictions: Sequence[VideoPrediction], trained: TrainedModel, *, count: int, form: str
) -> str:
    """Return the ``count`` likeliest classes of each video.

    Args:
        predictions: Of the videos, in the order of the output.
        trained: For the names of its classes.
        count: Classes per video.
        form: ``"table"`` for people; ``"json"``, one object per video with probabilities between 0 and 1;
            ``"csv"``, one row per video and class with the header ``video,rank,class,probability,error``.

    Raises:
        ValueError: On another form.
    """
    if form not in FORMATS:
        raise ValueError(f"form must be one of {', '.join(FORMATS)}, got {form!r}.")
    tops = [[] if p.error else trained.top(p.probabilities, count) for p in predictions]
    if form == "json":
        return json.dumps(
            [
                {"video": p.path, "error": p.error}
                if p.error
                else {"video": p.path, "top": [{"class": n, "probability": round(v, 6)} for n, v in top]}
                for p, top in zip(predictions, tops, strict=True)
            ],
            indent=2,
            ensure_ascii=False,
        )
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["video", "rank", "class", "probability", "error"])
        for prediction, top in zip(predictions, tops, strict=True):
            if prediction.error:
                writer.writerow([prediction.path, "", "", "", prediction.error])
            for rank, (name, value) in enumerate(top, 1):
                writer.writerow([prediction.path, rank, name, f"{value:.6f}", ""])
        return text.getvalue().rstrip("\n")
    rows: list[list[str]] = []
    for prediction, top in zip(predictions, tops, strict=True):
        if prediction.error:
            rows.append([prediction.path, "not read", prediction.error.removeprefix(f"{prediction.path}: ")])
        for rank, (name, value) in enumerate(top):
            rows.append([prediction.path if rank == 0 else "", f"{100 * value:.1f} %", name])
    # Names may look like numbers, and stay as they are.
    return tabulate(
        rows,
        headers=["video", "probability", "class"],
        disable_numparse=True,
        colalign=("left", "right", "left"),
    )
