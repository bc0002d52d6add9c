"""summarize: ``submit.py summarize``, measured and published results of runs as one table."""

import argparse
import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.atomic_files import write_text_atomically
from tsn_tsm_plugin.config.recipes import published_accuracies
from tsn_tsm_plugin.errors import RunFolderError
from tsn_tsm_plugin.paths import read_text
from tsn_tsm_plugin.safe_text import aligned_table, csv_cell, markdown_text

from ..errors import OK, LaunchError
from ..track.records import Submission, find_submission, submissions_below, submissions_of
from ..track.status import State, states_of

COLUMNS = (
    "run", "state", "mAP", "top-1", "published", "top-5", "published", "mean class", "videos", "params",
    "GFLOPs",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A run folder, with or without a record of its submission.

    Attributes:
        run_dir: The folder.
        config_file: The resolved config of the run.
        recipe_file: The recipe, whose header holds published numbers; the file may be missing.
        state: State of the run's newest job; ``None`` for a run of ``tsn-tsm-train``.
    """

    run_dir: Path
    config_file: Path
    recipe_file: Path
    state: State | None


def summarize(args: argparse.Namespace) -> int:
    """Print the table of the runs below some folders; write the table to a file on request."""
    rows = rows_of(find_runs(args.targets, args.runs))
    print(aligned_table([COLUMNS, *rows]))
    if args.csv:
        _write_csv(args.csv, rows)
    if args.markdown:
        write_text_atomically(args.markdown, as_markdown(rows))
    return OK


def print_table(root: Path) -> None:
    """Print the table of the runs below a folder on stderr."""
    print(aligned_table([COLUMNS, *rows_of(find_runs([str(root)], root))]), file=sys.stderr, flush=True)


def find_runs(targets: Sequence[str], root: Path) -> list[Run]:
    """Return the runs in folders and jobs, runs of ``tsn-tsm-train`` included.

    Args:
        targets: Job ids, run folders and folders of run folders.
        root: Folder to search for run folders if a target is an id.

    Raises:
        LaunchError: If no run is found.
    """
    records: dict[Path, Submission] = {}
    alone: dict[Path, Run] = {}
    for target in targets:
        folder = Path(target)
        if not folder.is_dir():
            found = find_submission(target, root)
        else:
            found = submissions_of(folder) or submissions_below(folder)
            for file in folder.rglob("environment.json"):
                run_dir = file.parent.absolute()
                alone[run_dir] = Run(run_dir, run_dir / "config.yaml", run_dir / "recipe.yaml", None)
        records |= {Path(record.run_dir).absolute(): record for record in found}
    submitted = [
        Run(run_dir, record.config_file, Path(record.folder) / "recipe.yaml", state)
        for run_dir, (record, state) in zip(records, states_of(records.values()), strict=True)
    ]
    runs = submitted + [run for run_dir, run in alone.items() if run_dir not in records]
    if not runs:
        raise LaunchError(f"nothing to summarize: {', '.join(targets)} holds no run folder.")
    return runs


def rows_of(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """Return one row for each run, in the order of their names."""
    common = Path(os.path.commonpath([run.run_dir for run in runs]))
    return sorted(_row(run, common) for run in runs)


def _row(run: Run, common: Path) -> tuple[str, ...]:
    # Imported here: other commands need not wait for torch.
    from tsn_tsm_plugin.runs.compare_runs import check_results_are_of_run

    name = str(run.run_dir.relative_to(common)) if run.run_dir != common else run.run_dir.name
    recipe = ""
    with contextlib.suppress(OSError):
        recipe = read_text(run.recipe_file)
    published_top1, published_top5 = published_accuracies(recipe)
    state = run.state
    results: dict[str, Any] = {}
    file = run.run_dir / "results.json"
    try:
        results = dict(json.loads(read_text(file)))
        check_results_are_of_run(file, str(results.get("weights_hash", "")))
        word = "ok" if state is None or state.state in ("COMPLETED", "UNKNOWN") else state.state
    except FileNotFoundError:
        word = state.state if state is not None and (state.has_failed or state.may_be_alive) else "MISSING"
    except (OSError, ValueError, TypeError):
        word = "DAMAGED"
    except RunFolderError:
        results, word = {}, "OTHER WEIGHTS"
    return (
        name,
        word,
        _score(results, "map"),
        _score(results, "top1"),
        published_top1,
        _score(results, "top5"),
        published_top5,
        _score(results, "mean_class"),
        str(results.get("num_videos", "-")),
        *_complexity(run),
    )


def _score(results: dict[str, Any], name: str) -> str:
    """Return a measured percentage, or "-": single-label and multi-label results have different metrics."""
    value = results.get(name)
    return f"{value:.2f}" if isinstance(value, int | float) else "-"


def _complexity(run: Run) -> tuple[str, str]:
    """Return parameters and operations of one view, counted without computing the network."""
    from tsn_tsm_plugin.config import load_cfg
    from tsn_tsm_plugin.models.build import complexity_of

    measured = complexity_of(load_cfg(run.config_file))
    return f"{measured.num_parameters:,}", f"{measured.num_operations / 1e9:.2f}"


def as_markdown(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as a Markdown table."""
    table = [COLUMNS, ("---",) * len(COLUMNS), *(map(markdown_text, row) for row in rows)]
    return "".join("| " + " | ".join(row) + " |\n" for row in table)


def _write_csv(path: Path, rows: Iterable[Sequence[str]]) -> None:
    content = io.StringIO(newline="")
    csv.writer(content).writerows([COLUMNS, *(map(csv_cell, row) for row in rows)])
    write_text_atomically(path, content.getvalue())
