"""accuracies, summarize, format_results, format_epochs: content of ``results.json``, and tables of a run."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from tabulate import tabulate
from torch import Tensor

from tsn_tsm_plugin.data.annotations import label_map_hash
from tsn_tsm_plugin.evaluation import (
    Predictions,
    average_precisions,
    balanced_accuracy,
    binary_auc,
    calibration,
    confusion_matrix,
    mean_average_precision,
    mean_class_accuracy,
    precision_recall_f1,
    topk_accuracy,
)
from tsn_tsm_plugin.runs.run_folder import finite
from tsn_tsm_plugin.safe_text import terminal_text

# Titles of the metrics; the first metric of a result selects the best checkpoint.
METRICS = {"map": "mAP", "top1": "top-1", "top5": "top-5", "mean_class": "mean class", "loss": "loss"}
# Columns of the table of epochs, by key of ``metrics.jsonl``.
_COLUMNS = {
    "loss": "epoch/loss",
    "top-1 %": "epoch/top1",
    "val loss": "val/loss",
    "val top-1 %": "val/top1",
    "seconds": "epoch/seconds",
    "clips/s": "epoch/clips_per_second",
}
# Titles of further metrics of a test. The macro recall equals the mean class accuracy, as does the balanced
# accuracy if every predicted class has videos.
FINAL_METRICS = {
    "macro_precision": "macro precision",
    "macro_f1": "macro F1",
    "auc": "AUC",
    "ece": "calibration error",
}
# With fewer classes, top-5 is meaningless: almost every prediction is right.
_LEAST_CLASSES_TOP5 = 6
# Classes shown at each end of the per-class table of the summary.
_NUM_SHOWN = 5
# A matrix of more classes is written as its cells that are not 0: a square of 5,000 takes 200 MiB.
_MOST_CLASSES_DENSE = 400
# Characters of a class name in the table.
_MOST_CHARS = 60
# Number of mistakes listed in a result.
_NUM_MISTAKES = 8


def accuracies(predictions: Predictions, *, view_average: str) -> dict[str, float]:
    """Return the metrics of a validation: accuracies in percent and the mean negative log likelihood.

    The first metric selects the best checkpoint: top-1, or mAP with several labels.
    """
    if predictions.label.ndim == 2:
        # A video without a label has no correct prediction.
        has_label_B = predictions.label.any(dim=1)
        hit_B = predictions.label.gather(1, predictions.top1[:, None])[has_label_B]
        target_BK = predictions.label.to(predictions.scores.dtype)
        return {
            "map": mean_average_precision(predictions.scores, predictions.label),
            "top1": 100.0 * hit_B.double().mean().item(),
            "loss": F.binary_cross_entropy(predictions.scores, target_BK).item(),
        }
    scores_BK, label_B = predictions.scores, predictions.label
    num_classes = scores_BK.shape[1]
    has_top5 = num_classes >= _LEAST_CLASSES_TOP5
    return {
        "top1": topk_accuracy(scores_BK, label_B, k=1),
        **({"top5": topk_accuracy(scores_BK, label_B, k=5)} if has_top5 else {}),
        "mean_class": mean_class_accuracy(label_B, predicted_classes(predictions), num_classes=num_classes),
        "loss": _negative_log_likelihood(predictions, view_average=view_average),
    }


def _negative_log_likelihood(predictions: Predictions, *, view_average: str) -> float:
    if view_average == "probabilities":
        log_scores: Tensor = predictions.scores.clamp_min(1e-12).log()
    else:
        log_scores = F.log_softmax(predictions.scores, dim=1)
    return F.nll_loss(log_scores, predictions.label).item()


def predicted_classes(predictions: Predictions) -> Tensor:
    """Return the predicted classes (B,); a video with a NaN score gets a wrong class, as in top-1."""
    wrong_B = (predictions.label + 1) % predictions.scores.shape[1]
    return wrong_B.where(predictions.scores.isnan().any(dim=1), predictions.top1)


def summarize(predictions: Predictions, *, class_names: list[str], view_average: str) -> dict[str, Any]:
    """Return :func:`accuracies`, numbers of each class, and an analysis of errors.

    With one label per video: precision, recall, F1 and their means, balanced accuracy, AUC for two classes,
    calibration, and the confusion matrix, whose rows are true classes. With more than 400 classes the matrix
    is a list of its nonzero cells, ``[true class, predicted class, count]``. With several labels the accuracy
    of a class is its average precision. Undefined and non-finite numbers are ``None``.
    """
    results: dict[str, Any] = {
        **accuracies(predictions, view_average=view_average),
        "num_videos": len(predictions),
        "label_map_hash": label_map_hash(class_names),
    }
    if predictions.label.ndim == 2:
        columns = {
            "num_videos": predictions.label.sum(dim=0).long().tolist(),
            "accuracy": average_precisions(predictions.scores, predictions.label),
        }
        results["worst_mistakes"] = _worst_of_several(predictions, class_names)
    else:
        top_B = predicted_classes(predictions)
        confusion_KK = confusion_matrix(predictions.label, top_B, num_classes=len(class_names))
        by_class = precision_recall_f1(confusion_KK)
        columns = {
            "num_videos": confusion_KK.sum(dim=1).tolist(),
            "accuracy": by_class.recall.tolist(),
            "precision": by_class.precision.tolist(),
            "recall": by_class.recall.tolist(),
            "f1": by_class.f1.tolist(),
        }
        share_BK = _shares(predictions, view_average=view_average)
        results |= dict(zip(("macro_precision", "macro_recall", "macro_f1"), by_class.macro(), strict=True))
        results["balanced_accuracy"] = balanced_accuracy(confusion_KK)
        if len(class_names) == 2:
            results["auc"] = binary_auc(share_BK[:, 1], predictions.label)
        is_finite_B = share_BK.isfinite().all(dim=1)
        confidence_B = share_BK.gather(1, top_B[:, None])[:, 0]
        calibrated = calibration(confidence_B[is_finite_B], (top_B == predictions.label)[is_finite_B])
        results["ece"] = calibrated.error
        results["calibration"] = {
            "num_videos": calibrated.num_videos,
            "confidence": calibrated.confidence,
            "accuracy": calibrated.accuracy,
        }
        if len(class_names) <= _MOST_CLASSES_DENSE:
            results["confusion_matrix"] = confusion_KK.tolist()
        else:
            cells = confusion_KK.nonzero()
            counts = confusion_KK[cells[:, 0], cells[:, 1]]
            results["confusion_cells"] = torch.cat([cells, counts[:, None]], dim=1).tolist()
        results["worst_mistakes"] = _worst_mistakes(predictions, class_names, share_BK)
    results["classes"] = [
        {"name": name, **dict(zip(columns, values, strict=True))}
        for name, *values in zip(class_names, *columns.values(), strict=True)
    ]
    return finite(results)


def _shares(predictions: Predictions, *, view_average: str) -> Tensor:
    """Return the probabilities of the classes, float64 (B, K)."""
    scores_BK = predictions.scores.double()
    return scores_BK if view_average == "probabilities" else scores_BK.softmax(dim=1)


def _worst_mistakes(
    predictions: Predictions, class_names: list[str], share_BK: Tensor
) -> list[dict[str, Any]]:
    """Return the wrong predictions with the highest confidence, in descending order."""
    top_B, label_B = predictions.top1, predictions.label
    wrong = (share_BK.isfinite().all(dim=1) & (top_B != label_B)).nonzero()[:, 0].tolist()
    surest = sorted(wrong, key=lambda i: -share_BK[i, top_B[i]].item())[:_NUM_MISTAKES]
    return [
        {
            "video_index": int(predictions.video_index[i]),
            "video_name": predictions.video_name[i],
            "label": class_names[label_B[i]],
            "label_percent": round(100 * share_BK[i, label_B[i]].item(), 2),
            "prediction": class_names[top_B[i]],
            "prediction_percent": round(100 * share_BK[i, top_B[i]].item(), 2),
        }
        for i in surest
    ]


def _worst_of_several(predictions: Predictions, class_names: list[str]) -> list[dict[str, Any]]:
    """Return the multi-label videos with the highest score of a class that they do not contain."""
    label_BK = predictions.label.bool()
    score_B, class_B = predictions.scores.double().masked_fill(label_BK, 0.0).max(dim=1)
    surest = score_B.argsort(descending=True, stable=True)[:_NUM_MISTAKES].tolist()
    return [
        {
            "video_index": int(predictions.video_index[i]),
            "video_name": predictions.video_name[i],
            "label": ", ".join(class_names[k] for k in label_BK[i].nonzero()[:, 0].tolist())
            or "none of them",
            "label_percent": round(100 * predictions.scores[i][label_BK[i]].mean().nan_to_num(0.0).item(), 2),
            "prediction": class_names[class_B[i]],
            "prediction_percent": round(100 * score_B[i].item(), 2),
        }
        for i in surest
        if score_B[i] > 0.5
    ]


def format_accuracies(results: dict[str, Any]) -> str:
    """Format the accuracies of a result in one line."""
    names = [name for name in METRICS if name in results and name != "loss"]
    return ", ".join(f"{METRICS[name]} {results[name]:6.2f} %" for name in names)


def shown_metrics(results: dict[str, Any]) -> dict[str, str]:
    """Return the titles of a result's percentages by name."""
    titles = {**METRICS, **FINAL_METRICS}
    return {name: t for name, t in titles.items() if name != "loss" and results.get(name) is not None}


def format_results(results: dict[str, Any]) -> str:
    """Format a result as a table: accuracies, speed, and the best and worst classes."""
    rows = [(title, f"{results[name]:.2f} %") for name, title in shown_metrics(results).items()]
    rows += [
        ("videos", f"{results['num_videos']} ({results['num_bad_videos']} unreadable)"),
        ("views per video", f"{results['views_per_video']}, averaged as {results['view_average']}"),
        ("speed", f"{results['clips_per_second']:.1f} clips/s, {results['seconds']:.1f} s in all"),
        ("weights", terminal_text(results.get("weights", ""))),
    ]
    lines = [f"  {name:<18}{value}" for name, value in rows if value]
    classes = sorted(
        (c for c in results["classes"] if c["accuracy"] is not None),
        key=lambda c: (-c["accuracy"], c["name"]),
    )
    is_short = len(classes) <= 2 * _NUM_SHOWN
    shown = classes if is_short else [*classes[:_NUM_SHOWN], None, *classes[-_NUM_SHOWN:]]
    names = {c["name"]: terminal_text(c["name"], max_chars=_MOST_CHARS) for c in classes}
    width = max(map(len, names.values()), default=0)
    has_f1 = bool(classes) and "f1" in classes[0]
    header = "    recall  precision      F1  videos" if has_f1 else "  accuracy  videos"
    lines.append(f"  {'class':<{width}}{header}")
    lines += [
        f"  {names[c['name']]:<{width}}{_class_numbers(c, has_f1=has_f1)}" if c else "  ..." for c in shown
    ]
    return "\n".join(lines)


def _class_numbers(numbers: dict[str, Any], *, has_f1: bool) -> str:
    text = f"{numbers['accuracy']:>8.1f} %"
    if has_f1:
        precision = "-" if numbers["precision"] is None else f"{numbers['precision']:.1f} %"
        text += f"{precision:>11}{numbers['f1']:>6.1f} %"
    return f"{text}{numbers['num_videos']:>8}"


def format_epochs(records: Sequence[dict[str, Any]]) -> str:
    """Return the table of a run; numbers missing in an epoch give empty cells.

    Args:
        records: Records of ``metrics.jsonl``, oldest first.
    """
    epochs: dict[int, dict[str, Any]] = {}
    for record in records:
        wanted = {key: value for key, value in record.items() if key in _COLUMNS.values()}
        if wanted:
            epochs.setdefault(record["epoch"], {}).update(wanted)
    columns = [
        (name, key) for name, key in _COLUMNS.items() if any(key in values for values in epochs.values())
    ]
    rows = [[epoch, *(values.get(key) for _, key in columns)] for epoch, values in sorted(epochs.items())]
    headers = ["epoch", *(name for name, _ in columns)]
    table = tabulate(rows, headers=headers, floatfmt=".4g", missingval="", tablefmt="simple")
    best = _best_epoch(records)
    return f"{table}\nBest validation: epoch {best} (checkpoints/best.pt; --which best)" if best else table


def _best_epoch(records: Sequence[dict[str, Any]]) -> int | None:
    """Return the epoch with the best validation, the first of equal epochs; ``None`` without a validation.

    Args:
        records: Records of ``metrics.jsonl``, oldest first.
    """
    for metric in METRICS:
        found = [r for r in records if r.get(f"val/{metric}") is not None]
        if found:
            return int(max(found, key=lambda record: record[f"val/{metric}"])["epoch"])
    return None
