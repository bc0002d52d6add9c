"""format_epochs, best_epoch: a run as a table with one line per epoch."""

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from tsn_tsm_plugin.runs.results import METRICS

_COLUMNS = {
    "loss": "epoch/loss",
    "top-1 %": "epoch/top1",
    "val loss": "val/loss",
    "val top-1 %": "val/top1",
    "seconds": "epoch/seconds",
    "clips/s": "epoch/clips_per_second",
}


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
    best = best_epoch(records)
    return f"{table}\nBest validation: epoch {best} (checkpoints/best.pt; --which best)" if best else table


def best_epoch(records: Sequence[dict[str, Any]]) -> int | None:
    """Return the epoch with the best validation, the first of equal epochs; ``None`` without a validation.

    Args:
        records: Records of ``metrics.jsonl``, oldest first.
    """
    for metric in METRICS:
        found = [r for r in records if r.get(f"val/{metric}") is not None]
        if found:
            return int(max(found, key=lambda record: record[f"val/{metric}"])["epoch"])
    return None
