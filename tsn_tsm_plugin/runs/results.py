"""What an evaluation found: the content of ``results.json`` and the table that a person reads."""

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from tsn_tsm_plugin.data.annotations import label_map_hash
from tsn_tsm_plugin.evaluation import (
    Predictions,
    average_precisions,
    confusion_matrix,
    mean_average_precision,
    mean_class_accuracy,
    per_class_accuracy,
    topk_accuracy,
)

# Titles of what is measured; the first that a result has decides which checkpoint is the best.
METRICS = {"map": "mAP", "top1": "top-1", "top5": "top-5", "mean_class": "mean class", "loss": "loss"}
# Classes shown at each end of the per-class table of the summary.
_NUM_SHOWN = 5
# Mistakes that a result names.
_NUM_MISTAKES = 8


def accuracies(predictions: Predictions, *, view_average: str) -> dict[str, float]:
    """Return what a validation logs: accuracies in percent and the mean negative log likelihood.

    The first is the one that decides which checkpoint is the best: top-1, or mAP with several labels.
    """
    if predictions.label.ndim == 2:
        hit_B = predictions.label.gather(1, predictions.top1[:, None])
        target_BK = predictions.label.to(predictions.scores.dtype)
        return {
            "map": mean_average_precision(predictions.scores, predictions.label),
            "top1": 100.0 * hit_B.double().mean().item(),
            "loss": F.binary_cross_entropy(predictions.scores, target_BK).item(),
        }
    scores_BK, label_B = predictions.scores, predictions.label
    return {
        "top1": topk_accuracy(scores_BK, label_B, k=1),
        "top5": topk_accuracy(scores_BK, label_B, k=5),
        "mean_class": mean_class_accuracy(label_B, predictions.top1, num_classes=scores_BK.shape[1]),
        "loss": _negative_log_likelihood(predictions, view_average=view_average),
    }


def _negative_log_likelihood(predictions: Predictions, *, view_average: str) -> float:
    if view_average == "probabilities":
        log_scores: Tensor = predictions.scores.clamp_min(1e-12).log()
    else:
        log_scores = F.log_softmax(predictions.scores, dim=1)
    return F.nll_loss(log_scores, predictions.label).item()


def summarize(predictions: Predictions, *, class_names: list[str], view_average: str) -> dict[str, Any]:
    """Return :func:`accuracies`, one entry per class, and the confusion matrix (rows: true class).

    With several labels per video the accuracy of a class is its average precision, and there is no matrix.
    """
    results: dict[str, Any] = {
        **accuracies(predictions, view_average=view_average),
        "num_videos": len(predictions),
        "label_map_hash": label_map_hash(class_names),
    }
    if predictions.label.ndim == 2:
        accuracy_K = average_precisions(predictions.scores, predictions.label)
        count_K = predictions.label.sum(dim=0).long().tolist()
    else:
        confusion_KK = confusion_matrix(predictions.label, predictions.top1, num_classes=len(class_names))
        accuracy_K = per_class_accuracy(confusion_KK).tolist()
        count_K = confusion_KK.sum(dim=1).tolist()
        results["confusion_matrix"] = confusion_KK.tolist()
        results["worst_mistakes"] = _worst_mistakes(predictions, class_names, view_average=view_average)
    results["classes"] = [
        {"name": name, "num_videos": count, "accuracy": None if math.isnan(accuracy) else accuracy}
        for name, count, accuracy in zip(class_names, count_K, accuracy_K, strict=True)
    ]
    return results


def _worst_mistakes(
    predictions: Predictions, class_names: list[str], *, view_average: str
) -> list[dict[str, Any]]:
    """Return the wrong predictions that the model was surest of, surest first."""
    scores_BK = predictions.scores.double()
    shares_BK = scores_BK if view_average == "probabilities" else scores_BK.softmax(dim=1)
    top_B, label_B = predictions.top1, predictions.label
    wrong = (top_B != label_B).nonzero()[:, 0].tolist()
    surest = sorted(wrong, key=lambda i: -shares_BK[i, top_B[i]].item())[:_NUM_MISTAKES]
    return [
        {
            "video_index": int(predictions.video_index[i]),
            "video_name": predictions.video_name[i],
            "label": class_names[label_B[i]],
            "label_percent": round(100 * shares_BK[i, label_B[i]].item(), 2),
            "prediction": class_names[top_B[i]],
            "prediction_percent": round(100 * shares_BK[i, top_B[i]].item(), 2),
        }
        for i in surest
    ]


def format_accuracies(results: dict[str, Any]) -> str:
    """Write the accuracies of a result in one line."""
    names = [name for name in METRICS if name in results and name != "loss"]
    return ", ".join(f"{METRICS[name]} {results[name]:6.2f} %" for name in names)


def format_results(results: dict[str, Any]) -> str:
    """Lay a result out as a table: the accuracies, the speed, and the best and worst classes."""
    accuracy_names = [name for name in METRICS if name in results and name != "loss"]
    rows = [(METRICS[name], f"{results[name]:.2f} %") for name in accuracy_names]
    rows += [
        ("videos", f"{results['num_videos']} ({results['num_bad_videos']} unreadable)"),
        ("views per video", f"{results['views_per_video']}, averaged as {results['view_average']}"),
        ("speed", f"{results['clips_per_second']:.1f} clips/s, {results['seconds']:.1f} s in all"),
        ("weights", str(results.get("weights", ""))),
    ]
    lines = [f"  {name:<16}{value}" for name, value in rows if value]
    classes = sorted(
        (c for c in results["classes"] if c["accuracy"] is not None),
        key=lambda c: (-c["accuracy"], c["name"]),
    )
    is_short = len(classes) <= 2 * _NUM_SHOWN
    shown = classes if is_short else [*classes[:_NUM_SHOWN], None, *classes[-_NUM_SHOWN:]]
    width = max((len(c["name"]) for c in classes), default=0)
    lines.append(f"  {'class':<{width}}  accuracy  videos")
    lines += [
        f"  {c['name']:<{width}}{c['accuracy']:>8.1f} %{c['num_videos']:>8}" if c else "  ..." for c in shown
    ]
    return "\n".join(lines)
