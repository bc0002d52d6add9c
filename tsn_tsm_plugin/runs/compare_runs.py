"""compare_runs, check_results_are_of_run: results of runs side by side, and the recipe keys that differ."""

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from tsn_tsm_plugin.checkpoints.safetensors_file import hash_in_file
from tsn_tsm_plugin.config.defaults import flatten
from tsn_tsm_plugin.config.yaml_text import parse
from tsn_tsm_plugin.errors import RunFolderError
from tsn_tsm_plugin.paths import read_text
from tsn_tsm_plugin.runs.metrics_log import read_metrics
from tsn_tsm_plugin.runs.results import METRICS
from tsn_tsm_plugin.runs.run_folder import RUN_WEIGHTS
from tsn_tsm_plugin.safe_text import terminal_text

# Keys that do not affect the results.
_IGNORED = ("OUTPUT_DIR",)


def compare_runs(folders: Sequence[Path]) -> str:
    """Return a table with a column for each run: results first, then the keys that differ.

    Args:
        folders: Run folders. A run without ``results.json`` shows its last validation, marked with ``*``.

    Raises:
        RunFolderError: If a folder is not a run folder, or a file in it is damaged.
    """
    runs = [_read_run(folder) for folder in folders]
    configs = [run.pop("config") for run in runs]
    names = list(dict.fromkeys(name for run in runs for name in run))
    rows = [[name, *(run.get(name, "") for run in runs)] for name in names]
    keys = sorted({key for config in configs for key in config if key not in _IGNORED})
    differing = [key for key in keys if len({repr(config.get(key)) for config in configs}) > 1]
    rows += [[key, *(terminal_text(config.get(key, "")) for config in configs)] for key in differing]
    return tabulate(rows, headers=["", *map(terminal_text, folders)], disable_numparse=True)


def _read_run(folder: Path) -> dict[str, Any]:
    config = folder / "config.yaml"
    if not config.is_file():
        raise RunFolderError(f"{folder} is not a run folder: it has no config.yaml.")
    try:
        settings = parse(read_text(config))
    except (OSError, yaml.YAMLError) as error:
        raise _damaged(config, error) from error
    if not isinstance(settings, dict) or not settings:
        raise _damaged(config, "it holds no keys")
    row: dict[str, Any] = {"config": flatten(settings)}
    records = [_numbers(record) for record in read_metrics(folder / "metrics.jsonl")]
    row |= _measured(folder / "results.json", records)
    steps = [record["step"] for record in records if "step" in record]
    if steps:
        row["steps"] = str(steps[-1])
    seconds = sum(record.get("epoch/seconds", 0.0) for record in records)
    if seconds:
        row["training"] = str(timedelta(seconds=round(seconds)))
    return row


def _measured(results_file: Path, records: list[dict[str, float]]) -> dict[str, str]:
    if results_file.is_file():
        try:
            results = json.loads(read_text(results_file))
            videos, views = str(results["num_videos"]), str(results["views_per_video"])
            weights = str(results["weights_hash"])
        except KeyError as error:
            raise _damaged(results_file, f"it lacks {error}") from error
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(results_file, error) from error
        numbers = _numbers(results)
        row = {title: _number(numbers[name]) for name, title in METRICS.items() if name in numbers}
        check_results_are_of_run(results_file, weights)
        return {**row, "videos": videos, "views": views, "weights": weights[:12]}
    validations = [record for record in records if any(name.startswith("val/") for name in record)]
    last = validations[-1] if validations else {}
    return {
        title: f"{_number(last[f'val/{name}'])}*" for name, title in METRICS.items() if f"val/{name}" in last
    }


def check_results_are_of_run(results_file: Path, tested: str) -> None:
    """Refuse results of other weights than the run's.

    Args:
        results_file: ``results.json`` of a run.
        tested: Hash of the tested weights.

    Raises:
        RunFolderError: If the ``weights.safetensors`` next to the results has another hash.
    """
    file = results_file.with_name(RUN_WEIGHTS)
    carried = hash_in_file(file) or tested
    if carried != tested:
        raise RunFolderError(
            f"{results_file} is of other weights ({tested[:12]}) than {file} ({carried[:12]}). Test these "
            f"with tsn-tsm-evaluate --weights {file} --out {results_file.parent}."
        )


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    """Return the value if it is a number; ``null`` (not finite) becomes an empty cell."""
    return {name: value for name, value in record.items() if type(value) in (int, float)}


def _damaged(path: Path, why: object) -> RunFolderError:
    reason = " ".join(str(why).split())
    return RunFolderError(
        f"{path} is damaged ({reason}). Skip this run, or write the file again: results.json by "
        "tsn-tsm-evaluate, the others by training."
    )


def _number(value: float) -> str:
    return f"{value:.2f}" if value >= 10 else f"{value:.4g}"
