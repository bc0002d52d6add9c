"""``submit.py summarize``: runs as one table, measured beside published, on the terminal and as files."""

import argparse
import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.atomic_files import write_text_atomically
from tsn_tsm_plugin.config.published import published_accuracies
from tsn_tsm_plugin.safe_text import csv_cell, markdown_text, terminal_text

from ..errors import OK, LaunchError
from ..track.records import Submission, find_submission
from ..track.status import State, states_of

COLUMNS = (
    "run",
    "state",
    "mAP",
    "top-1",
    "published",
    "top-5",
    "published",
    "mean class",
    "videos",
    "params",
    "GFLOPs",
)


def summarize(args: argparse.Namespace) -> int:
    """Print the table of the runs below some folders, and write it where asked."""
    found: dict[str, Submission] = {}
    for target in args.targets:
        found |= {record.run_dir: record for record in find_submission(target, Path(args.runs))}
    if not found:
        raise LaunchError("nothing to summarize.")
    rows = rows_of(list(found.values()))
    print(as_text([COLUMNS, *([terminal_text(cell) for cell in row] for row in rows)]))
    if args.csv:
        _write_csv(Path(args.csv), rows)
    if args.markdown:
        write_text_atomically(Path(args.markdown), as_markdown(rows))
    return OK


def rows_of(records: Sequence[Submission]) -> list[tuple[str, ...]]:
    """Return one row for each run, in the order of their names."""
    common = _common_folder(records)
    pairs = zip(records, states_of(records), strict=True)
    return sorted(_row(record, state, common) for record, state in pairs)


def _row(record: Submission, state: State, common: Path) -> tuple[str, ...]:
    run_dir = Path(record.run_dir)
    name = str(run_dir.relative_to(common)) if run_dir != common else run_dir.name
    published_top1, published_top5 = _published(record)
    file = run_dir / "results.json"
    if file.exists():
        word = "ok" if state.state in ("COMPLETED", "UNKNOWN") else state.state
        results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    else:
        word = state.state if state.has_failed or state.is_alive else "MISSING"
        results = {}
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
        *_complexity(record),
    )


def _score(results: dict[str, Any], name: str) -> str:
    """Return a measured percentage; which there are depends on whether videos have one label or several."""
    return f"{results[name]:.2f}" if name in results else "-"


def _published(record: Submission) -> tuple[str, str]:
    recipe = Path(record.folder) / "recipe.yaml"
    return published_accuracies(recipe.read_text(encoding="utf-8") if recipe.exists() else "")


def _complexity(record: Submission) -> tuple[str, str]:
    """Return parameters and operations of one view, counted on the network without computing anything."""
    from tsn_tsm_plugin.config import load_cfg
    from tsn_tsm_plugin.models.build import complexity_of

    measured = complexity_of(load_cfg(record.config_file))
    return f"{measured.num_parameters:,}", f"{measured.num_operations / 1e9:.2f}"


def as_text(rows: Iterable[Sequence[str]]) -> str:
    """Return rows with aligned columns."""
    table = list(rows)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )


def as_markdown(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as a Markdown table."""
    table = [COLUMNS, ("---",) * len(COLUMNS), *(map(markdown_text, row) for row in rows)]
    return "".join("| " + " | ".join(row) + " |\n" for row in table)


def _write_csv(path: Path, rows: Iterable[Sequence[str]]) -> None:
    content = io.StringIO(newline="")
    csv.writer(content).writerows([COLUMNS, *(map(csv_cell, row) for row in rows)])
    write_text_atomically(path, content.getvalue())


def _common_folder(records: Sequence[Submission]) -> Path:
    folders = [Path(record.run_dir) for record in records]
    common = folders[0]
    while not all(folder.is_relative_to(common) for folder in folders):
        common = common.parent
    return common
