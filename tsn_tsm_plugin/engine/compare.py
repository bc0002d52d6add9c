"""Runs side by side: what came out, and which keys of their recipes differ."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from tsn_tsm_plugin.engine.metrics_log import read_metrics
from tsn_tsm_plugin.engine.progress import clock
from tsn_tsm_plugin.engine.results import METRICS
from tsn_tsm_plugin.engine.state import flatten
from tsn_tsm_plugin.errors import RunFolderError

# Where a run lies says nothing about it.
_IGNORED = ("OUTPUT_DIR",)


def compare_runs(folders: Sequence[Path]) -> str:
    """Return a table with a column for each run: results first, then the keys that differ.

    Args:
        folders: Run folders; one without ``results.json`` shows its last validation, marked with ``*``.

    Raises:
        RunFolderError: If a folder is not that of a run.
    """
    runs = [_read_run(folder) for folder in folders]
    configs = [run.pop("config") for run in runs]
    names = list(dict.fromkeys(name for run in runs for name in run))
    rows = [[name, *(run.get(name, "") for run in runs)] for name in names]
    keys = sorted({key for config in configs for key in config if key not in _IGNORED})
    differing = [key for key in keys if len({repr(config.get(key)) for config in configs}) > 1]
    rows += [[key, *(str(config.get(key, "")) for config in configs)] for key in differing]
    return tabulate(rows, headers=["", *(str(folder) for folder in folders)], disable_numparse=True)


def _read_run(folder: Path) -> dict[str, Any]:
    config = folder / "config.yaml"
    if not config.is_file():
        raise RunFolderError(f"{folder} is not a run folder: it has no config.yaml.")
    records = read_metrics(folder / "metrics.jsonl")
    row: dict[str, Any] = {"config": flatten(yaml.safe_load(config.read_text(encoding="utf-8")))}
    row |= _measured(folder / "results.json", records)
    if records:
        row["steps"] = str(records[-1]["step"])
    seconds = sum(record.get("epoch/seconds", 0.0) for record in records)
    if seconds:
        row["training"] = clock(seconds)
    return row


def _measured(results_file: Path, records: list[dict[str, Any]]) -> dict[str, str]:
    if results_file.is_file():
        results = json.loads(results_file.read_text(encoding="utf-8"))
        row = {title: _number(results[name]) for name, title in METRICS.items() if name in results}
        return {**row, "videos": str(results["num_videos"]), "views": str(results["views_per_video"])}
    validations = [record for record in records if "val/loss" in record]
    last = validations[-1] if validations else {}
    return {
        title: f"{_number(last[f'val/{name}'])}*" for name, title in METRICS.items() if f"val/{name}" in last
    }


def _number(value: float) -> str:
    return f"{value:.2f}" if value >= 10 else f"{value:.4g}"
