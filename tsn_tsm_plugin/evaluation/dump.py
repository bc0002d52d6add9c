"""write_dump, read_dump: predictions as pickle, JSON or CSV for other programs.

Pickle and JSON hold one dictionary of plain Python values::

    {"class_names": [...], "view_average": "probabilities",
     "videos": [{"video_index", "video_name", "label", "prediction", "scores", "view_logits"}, ...]}

``scores`` are K numbers, and ``view_logits`` are V rows of K numbers.

CSV holds one row per video and view, after a row for the average: ``video_index, video_name, label,
prediction, view`` (``mean``, then 0, 1, ...), and a column for each class.
"""

import csv
import json
import pickle
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import torch

from tsn_tsm_plugin.atomic_files import os_errors_as_run_folder_errors, replace_when_whole
from tsn_tsm_plugin.checkpoints.pickle_machine import PickleMachine
from tsn_tsm_plugin.errors import CheckpointError, first_line
from tsn_tsm_plugin.evaluation.predictions import Predictions
from tsn_tsm_plugin.paths import read_bytes
from tsn_tsm_plugin.safe_text import csv_cell

FORMATS = (".pkl", ".json", ".csv")


def write_dump(predictions: Predictions, path: Path, *, class_names: list[str], view_average: str) -> None:
    """Write predictions; the suffix of the path, one of ``FORMATS``, selects the format.

    Args:
        predictions: Predictions of a whole split.
        path: The file; a missing folder is created.
        class_names: K names.
        view_average: Rule that averaged the views' logits to scores.

    Raises:
        ValueError: If the suffix is unknown.
        RunFolderError: If the disk is full or the folder cannot be written; an older dump is kept.
    """
    if path.suffix not in FORMATS:
        raise ValueError(f"A dump must end in one of {', '.join(FORMATS)}, got {path.name!r}.")
    content = {
        "class_names": list(class_names),
        "view_average": view_average,
        "videos": list(_rows(predictions)),
    }
    with os_errors_as_run_folder_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replace_when_whole(path) as unfinished:
        _write(content, unfinished)


def _write(content: dict[str, Any], path: Path) -> None:
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    elif path.suffix == ".json":
        path.write_text(json.dumps(content), encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            _write_csv(file, content)


def _rows(predictions: Predictions) -> Iterator[dict[str, Any]]:
    top_B = predictions.top1.tolist()
    for i, name in enumerate(predictions.video_name):
        yield {
            "video_index": int(predictions.video_index[i]),
            "video_name": name,
            "label": predictions.label[i].tolist(),
            "prediction": top_B[i],
            "scores": predictions.scores[i].tolist(),
            "view_logits": predictions.view_logits[i].tolist(),
        }


def _write_csv(file: IO[str], content: dict[str, Any]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    names = [csv_cell(name) for name in content["class_names"]]
    writer.writerow(["video_index", "video_name", "label", "prediction", "view", *names])
    for video in content["videos"]:
        label = video["label"]
        several = [str(k) for k, has in enumerate(label) if has] if isinstance(label, list) else [str(label)]
        start = [video["video_index"], csv_cell(video["video_name"]), " ".join(several), video["prediction"]]
        writer.writerow([*start, "mean", *video["scores"]])
        writer.writerows([*start, view, *logits] for view, logits in enumerate(video["view_logits"]))


def read_dump(path: str | Path) -> tuple[Predictions, list[str]]:
    """Read a pickle or JSON file of :func:`write_dump`.

    Args:
        path: The file, or its URL.

    Returns:
        The predictions and the class names.

    Raises:
        CheckpointError: If the file is missing, damaged, of another kind, a pickle of other than plain
            values, or invalid: no videos, labels out of range, scores that are not numbers.
    """
    try:
        if PurePosixPath(path).suffix == ".pkl":
            content = PickleMachine(read_bytes(path)).run()
        else:
            content = json.loads(read_bytes(path))
        videos, class_names = content["videos"], content["class_names"]
        if not isinstance(videos, list):
            raise ValueError("videos must be a list")
        columns = {key: torch.tensor([video[key] for video in videos]) for key in _COLUMNS}
        names = [video["video_name"] for video in videos]
    except Exception as error:  # A damaged file fails in many ways, and each of them means the same.
        reason = ascii(first_line(error))[1:-1][:120]
        raise CheckpointError(
            f"{path} is not a dump of predictions, .pkl or .json ({type(error).__name__}: {reason}). "
            "tsn-tsm-evaluate --dump FILE writes one."
        ) from error
    predictions = Predictions(video_name=names, **columns)
    fault = _fault(predictions, class_names)
    if fault:
        raise CheckpointError(f"{path}: {fault}. Write the dump again with tsn-tsm-evaluate --dump FILE.")
    return predictions, class_names


def _fault(predictions: Predictions, class_names: Any) -> str:
    """Return the first broken rule of a dump, or ""."""
    names, label = predictions.video_name, predictions.label
    scores, logits = predictions.scores, predictions.view_logits
    if not names:
        return "must hold at least one video, got none"
    for kind, given in (("class_names", class_names), ("video_name", names)):
        if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
            return f"{kind} must be text, got {given!r:.80}"
    num_classes = len(class_names)
    if scores.ndim != 2 or scores.shape[1] != num_classes:
        return f"every video must have a score for each of {num_classes} class names, got {_shape(scores)}"
    if logits.ndim != 3 or logits.shape[2] != num_classes or not logits.shape[1]:
        return f"every view must have a logit for each of {num_classes} class names, got {_shape(logits)}"
    is_finite_B = scores.isfinite().all(1) & logits.isfinite().flatten(1).all(1)
    if not is_finite_B.all():
        worst = int(is_finite_B.int().argmin())
        return f"scores and logits must be finite numbers, but {names[worst]} has others"
    if label.ndim == 2:
        if label.shape[1] != num_classes or not ((label == 0) | (label == 1)).all():
            return f"several labels must be 0 or 1 for each of {num_classes} class names, got {_shape(label)}"
        return ""
    if label.ndim != 1 or label.is_floating_point():
        return f"a label must be the number of a class, got {label[0].tolist()!r}"
    is_class_B = (label >= 0) & (label < num_classes)
    if not is_class_B.all():
        worst = int(is_class_B.int().argmin())
        return f"labels must be in 0 to {num_classes - 1}, got {int(label[worst])} for {names[worst]}"
    return ""


def _shape(tensor: torch.Tensor) -> str:
    return f"{len(tensor)} videos with {' x '.join(map(str, tensor.shape[1:])) or 'one'} number(s)"


_COLUMNS = ("video_index", "label", "scores", "view_logits")
