"""format_predictions: format predictions as a table, JSON or CSV."""

import csv
import io
from collections.abc import Sequence

from tabulate import tabulate

from tsn_tsm_plugin.inference.trained_model import TrainedModel
from tsn_tsm_plugin.inference.video_predictor import VideoPrediction
from tsn_tsm_plugin.safe_text import csv_cell, json_text, terminal_text


def format_predictions(
    predictions: Sequence[VideoPrediction], trained: TrainedModel, *, count: int, form: str
) -> str:
    """Return the ``count`` most likely classes of each video.

    Args:
        predictions: Predictions of videos, in the order of the output.
        trained: The network, for the class names.
        count: Classes per video.
        form: ``"table"``, plain text; ``"json"``, one object per video with probabilities between 0 and 1;
            ``"csv"``, one row per video and class with the header ``video,rank,class,probability,error``.
    """
    tops = [[] if p.error else trained.top(p.probabilities, count) for p in predictions]
    if form == "json":
        return json_text(
            [
                {"video": p.path, "error": p.error}
                if p.error
                else {"video": p.path, "top": [{"class": n, "probability": round(v, 6)} for n, v in top]}
                for p, top in zip(predictions, tops, strict=True)
            ],
            indent=2,
        )
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["video", "rank", "class", "probability", "error"])
        for prediction, top in zip(predictions, tops, strict=True):
            path = csv_cell(prediction.path)
            if prediction.error:
                writer.writerow([path, "", "", "", csv_cell(prediction.error)])
            for rank, (name, value) in enumerate(top, 1):
                writer.writerow([path, rank, csv_cell(name), f"{value:.6f}", ""])
        return text.getvalue().rstrip("\n")
    rows: list[list[str]] = []
    for prediction, top in zip(predictions, tops, strict=True):
        path = terminal_text(prediction.path)
        if prediction.error:
            rows.append([path, "-", "unreadable"])
        for rank, (name, value) in enumerate(top):
            rows.append(["" if rank else path, f"{100 * value:.1f} %", terminal_text(name)])
    # Class names may look like numbers; keep them as text.
    table = tabulate(
        rows,
        headers=["video", "probability", "class"],
        disable_numparse=True,
        colalign=("left", "right", "left"),
    )
    return "\n".join([table, *(terminal_text(p.error) for p in predictions if p.error)])
