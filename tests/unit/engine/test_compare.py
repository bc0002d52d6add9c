"""Runs side by side, of which some were cut off or damaged."""

import json

import pytest

from tsn_tsm_plugin.runs.compare_runs import compare_runs
from tsn_tsm_plugin.tools import compare

RESULTS = {"top1": 50.0, "num_videos": 4, "views_per_video": 3, "weights_hash": "ab" * 32}


def make_run(folder, name, **files):
    run = folder / name
    run.mkdir()
    content = {
        "config.yaml": "SOLVER:\n  BASE_LR: 0.1\n",
        "results.json": json.dumps(RESULTS),
        "metrics.jsonl": '{"step": 7, "epoch": 1}\n',
    }
    for file, text in (content | {key.replace("_", "."): text for key, text in files.items()}).items():
        if text is not None:
            (run / file).write_text(text)
    return run


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"results_json": "{"}, "results.json is damaged (Expecting property name"),
        ({"results_json": "{}"}, "results.json is damaged (it lacks 'num_videos')"),
        ({"results_json": "[]"}, "results.json is damaged (list indices must be"),
        ({"config_yaml": ""}, "config.yaml is damaged (it holds no keys)"),
        ({"config_yaml": "text"}, "config.yaml is damaged (it holds no keys)"),
        ({"config_yaml": "a: [1"}, "config.yaml is damaged (while parsing a flow sequence"),
        ({"config_yaml": None}, "is not a run folder: it has no config.yaml"),
    ],
)
def test_a_run_with_a_damaged_file_is_named_in_one_line(tmp_path, capsys, files, message):
    runs = [make_run(tmp_path, "good"), make_run(tmp_path, "bad", **files)]
    assert compare.main([str(run) for run in runs]) == 2
    said = capsys.readouterr().err
    assert message in said and "bad" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "metrics",
    [
        '{"step": 7, "epoch": 1}\n{"epoch": 2}\n',
        '{"step": 7}\n3\n',
        '{"step": 7}\n{"step": 9, "va',
        '{"step": 7, "val/loss": null}',
    ],
)
def test_records_that_are_incomplete_are_skipped(tmp_path, metrics):
    run = make_run(tmp_path, "run", metrics_jsonl=metrics, results_json=None)
    assert compare_runs([run]).splitlines()[-1].split() == ["steps", "7"]


def test_a_number_that_was_not_finite_is_an_empty_cell(tmp_path):
    run = make_run(tmp_path, "run", results_json=json.dumps({**RESULTS, "loss": None}))
    table = compare_runs([run])
    assert "top-1" in table and "loss" not in table


def test_the_last_validation_is_shown_though_its_loss_was_not_finite(tmp_path):
    metrics = (
        '{"step": 1, "val/loss": 1.0, "val/top1": 20.0}\n{"step": 2, "val/loss": null, "val/top1": 30.0}\n'
    )
    table = compare_runs([make_run(tmp_path, "run", metrics_jsonl=metrics, results_json=None)])
    assert "30.00*" in table and "20.00*" not in table
