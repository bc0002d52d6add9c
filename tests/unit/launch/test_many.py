import argparse
import json
import re

import pytest
import torch
from support.cli import submit
from support.runs import write_recipe

from launch.commands.evaluate import pairs_of
from launch.commands.train import combinations
from launch.errors import LaunchError

pytestmark = pytest.mark.usefixtures("no_slurm")


def asked(**words):
    return argparse.Namespace(**{"cfg": None, "weights": None, "table": None, **words})


def test_a_sweep_is_every_combination_of_its_values():
    assert combinations([["A", "1", "2"], ["B", "x", "y"]]) == [
        ["A=1", "B=x"], ["A=1", "B=y"], ["A=2", "B=x"], ["A=2", "B=y"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sweeps", "message"),
    [
        ([["A"]], "--sweep must be KEY VALUE [VALUE ...], got A."),
        ([["A", "1"], ["A", "2"]], "--sweep must name each key once, got A, A."),
    ],
)
def test_a_sweep_that_means_nothing_is_refused(sweeps, message):
    with pytest.raises(LaunchError, match=re.escape(message)):
        combinations(sweeps)


def test_recipes_and_weights_are_paired_or_one_serves_all(tmp_path):
    one, two = str(tmp_path / "1.pt"), str(tmp_path / "2.pt")
    for path in (one, two):
        open(path, "w").close()  # noqa: PTH123

    assert pairs_of(asked(cfg=["a", "b"], weights=[one, two])) == [("a", one), ("b", two)]
    assert pairs_of(asked(cfg=["a"], weights=[one, two])) == [("a", one), ("a", two)]
    assert pairs_of(asked(cfg=["a", "b"])) == [("a", ""), ("b", "")]


def test_pairs_can_come_from_a_table_with_comments(tmp_path):
    table = tmp_path / "pairs.txt"
    table.write_text("# recipe weights\na.yaml a.pt\n\nb.yaml b.pt  # the good one\n")

    assert pairs_of(asked(table=str(table))) == [("a.yaml", "a.pt"), ("b.yaml", "b.pt")]


def test_a_malformed_line_of_a_table_is_named(tmp_path):
    table = tmp_path / "pairs.txt"
    table.write_text("a.yaml a.pt\nb.yaml\n")

    with pytest.raises(LaunchError, match=re.escape(f"{table}:2: must be `RECIPE WEIGHTS`, got 'b.yaml'.")):
        pairs_of(asked(table=str(table)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "evaluate needs --cfg RECIPE"),
        ({"cfg": ["a"], "weights": ["nowhere.pt"]}, "--weights nowhere.pt: no such file."),
        (
            {"cfg": ["a", "b", "c"], "weights": ["1", "2"]},
            "--weights must be one, or as many as --cfg, got 2 for 3",
        ),
    ],
)
def test_pairs_that_do_not_fit_are_refused(words, message):
    with pytest.raises(LaunchError, match=re.escape(message)):
        pairs_of(asked(**words))


def test_a_sweep_shows_each_run_folder_and_what_differs_before_it_runs(capsys, tmp_path):
    recipe = write_recipe(tmp_path, data=tmp_path)

    shown = submit(
        capsys, "--cfg", recipe, "--dry-run", "--cluster", "local", "OUTPUT_DIR=/runs/x",
        "--sweep", "SOLVER.BASE_LR", "0.1", "0.2",
    )  # fmt: skip

    assert shown.code == 0
    assert re.findall(r"# run folder +(\S+)", shown.out) == [
        "/runs/x/sweep/SOLVER.BASE_LR=0.1",
        "/runs/x/sweep/SOLVER.BASE_LR=0.2",
    ]
    assert shown.out.count("NUM_CLASSES") == 1
    assert shown.out.endswith("except:\nOUTPUT_DIR: /runs/x/sweep/SOLVER.BASE_LR=0.2\nSOLVER.BASE_LR: 0.2\n")


def test_a_sweep_on_this_machine_ends_with_the_table_of_its_runs(capsys, tmp_path, monkeypatch):
    def train(plan):
        plan.run_dir.mkdir(parents=True)
        (plan.run_dir / "config.yaml").write_text(plan.cfg.dump())
        (plan.run_dir / "environment.json").write_text("{}")
        (plan.run_dir / "results.json").write_text(json.dumps({"top1": 45.678, "loss": 1.5, "num_videos": 3}))
        return 0

    monkeypatch.setattr("launch.commands.train.run_local", train)
    recipe = write_recipe(tmp_path, data=tmp_path)

    ended = submit(
        capsys, "--cfg", recipe, "--cluster", "local", f"OUTPUT_DIR={tmp_path}/x",
        "--sweep", "SOLVER.BASE_LR", "0.1", "0.2",
    )  # fmt: skip

    assert ended.code == 0, ended.err
    assert all(f"SOLVER.BASE_LR={rate}" in ended.err for rate in (0.1, 0.2))
    assert ended.err.count("45.68") == 2


def test_a_dry_run_of_a_sweep_finds_the_faults_of_every_run(capsys, tmp_path):
    recipe = write_recipe(tmp_path, data=tmp_path)

    shown = submit(
        capsys, "--cfg", recipe, "--dry-run", "--cluster", "local", f"OUTPUT_DIR={tmp_path}/x",
        "--sweep", "TSM.SHIFT_DIV", "8", "128",
    )  # fmt: skip

    assert shown.code == 2
    assert "1 of 2 jobs cannot run" in shown.err and "got 128" in shown.err


def test_a_dry_run_of_evaluations_finds_the_faults_of_each_recipe(capsys, tmp_path):
    recipe = write_recipe(tmp_path, data=tmp_path)
    weights = tmp_path / "w.pt"
    weights.write_bytes(b"")

    shown = submit(
        capsys, "evaluate", "--cfg", recipe, "--weights", weights, "--dry-run", "--cluster", "local",
        "--out", tmp_path / "out", "TSM.SHIFT_DIV=128",
    )  # fmt: skip

    assert shown.code == 2
    assert "1 of 1 jobs cannot run" in shown.err and "got 128" in shown.err


@pytest.mark.parametrize(
    ("names", "fault"),
    [(["conv1.weight"], "does not fit the model"), ([], "w.pt is cut off, damaged or not")],
)
def test_a_dry_run_of_evaluations_opens_the_weights(capsys, tmp_path, names, fault):
    recipe = write_recipe(tmp_path, data=tmp_path)
    weights = tmp_path / "w.pt"
    torch.save({name: torch.zeros(2) for name in names}, weights)
    if not names:
        weights.write_bytes(weights.read_bytes()[:-50])

    shown = submit(
        capsys, "evaluate", "--cfg", recipe, "--weights", weights, "--dry-run", "--cluster", "local",
        "--out", tmp_path / "out",
    )  # fmt: skip

    assert shown.code == 2
    assert "TEST.CHECKPOINT_FILE_PATH" in shown.err and fault in shown.err
