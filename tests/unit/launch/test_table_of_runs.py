"""``submit.py summarize``: what it shows of each kind of run."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.cli import submit
from support.runs import write_recipe

from launch.track.records import Submission

pytestmark = pytest.mark.usefixtures("no_slurm")


SINGLE = {"top1": 45.678, "top5": 80.0, "mean_class": 44.0, "loss": 1.5, "num_videos": 12}
MULTI = {"map": 61.234, "top1": 70.0, "loss": 0.1, "num_videos": 7}


@dataclass
class Runs:
    folder: Path

    def add(self, name: str, results: dict[str, float] | None, header: str = "") -> None:
        """Write a run folder as a local run leaves it; ``None`` for one without results."""
        run_dir = self.folder / name
        record = Submission(
            folder=str(run_dir / "launch" / "first"), kind="train", name=name, backend="slurm",
            run_dir=str(run_dir), num_nodes=1, num_ranks=1, command=["submit.py"],
        )  # fmt: skip
        record.with_job("1")
        recipe = write_recipe(Path(record.folder), data=self.folder)
        recipe.rename(record.config_file)
        (Path(record.folder) / "recipe.yaml").write_text(header + record.config_file.read_text())
        if results is not None:
            (run_dir / "results.json").write_text(json.dumps(results))


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "runs")


def rows_of(capsys, runs):
    """Return the rows that are written as CSV, by column; a second column of one name is ``name 2``."""
    table = runs.folder / "table.csv"
    ended = submit(capsys, "summarize", runs.folder, "--csv", table)
    assert ended.code == 0, ended.err
    head, *rows = csv.reader(table.open())
    names = [f"{name} 2" if name in head[:column] else name for column, name in enumerate(head)]
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_runs_with_one_label_and_with_several_stand_in_one_table(capsys, runs):
    runs.add("a", SINGLE)
    runs.add("b", MULTI)
    runs.add("c", None)

    single, multi, missing = rows_of(capsys, runs)

    scores = ("mAP", "top-1", "top-5", "mean class", "videos")
    assert [single[name] for name in scores] == ["-", "45.68", "80.00", "44.00", "12"]
    assert [multi[name] for name in scores] == ["61.23", "70.00", "-", "-", "7"]
    assert [missing[name] for name in scores] == ["-"] * 5


@pytest.mark.parametrize(
    ("header", "top1", "top5"),
    [
        ("# published: top-1 72.83, top-5 90.65 (25 frames x 10 crops)\n", "72.83", "90.65"),
        ("# published: top-1 45.58 / 47.70, top-5 75.02 / 76.12 (both)\n", "45.58 / 47.70", "75.02 / 76.12"),
        ("# published: top-1 96.5 / 97.2, top-5 not printed (both)\n", "96.5 / 97.2", "not printed"),
        ("# published: no accuracy in the tables\n", "-", "-"),
    ],
)
def test_what_was_published_stands_beside_what_was_measured(capsys, runs, header, top1, top5):
    runs.add("a", SINGLE, header)

    [row] = rows_of(capsys, runs)

    assert (row["published"], row["published 2"]) == (top1, top5)


def test_a_run_that_the_launcher_did_not_start_is_in_the_table_too(capsys, runs):
    runs.add("a", SINGLE)
    alone = runs.folder / "b"
    alone.mkdir()
    write_recipe(alone, data=runs.folder).rename(alone / "config.yaml")
    (alone / "environment.json").write_text("{}")
    (alone / "results.json").write_text(json.dumps(SINGLE))

    rows = rows_of(capsys, runs)

    assert [(row["run"], row["state"], row["top-1"]) for row in rows] == [
        ("a", "ok", "45.68"),
        ("b", "ok", "45.68"),
    ]


def test_results_of_other_weights_than_the_runs_are_named_and_not_shown(capsys, runs):
    for name, tested in (("a", "1" * 64), ("b", "2" * 64)):
        runs.add(name, {**SINGLE, "weights_hash": tested})
        weights = runs.folder / name / "weights.safetensors"
        save_file({"w": torch.zeros(1)}, weights, metadata={"weights_hash": "1" * 64})

    rows = rows_of(capsys, runs)

    assert [(row["state"], row["top-1"]) for row in rows] == [("ok", "45.68"), ("OTHER WEIGHTS", "-")]
