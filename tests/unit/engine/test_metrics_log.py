"""Metrics: one record per line, none twice after a resume, the same names for TensorBoard."""

import json

import pytest

from tsn_tsm_plugin.errors import RunFolderError
from tsn_tsm_plugin.runs.metrics_log import MetricsLog, read_metrics


def test_records_of_steps_that_will_be_taken_again_are_removed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, tensorboard_dir=None, step=0)
    for step in (1, 2, 3):
        log.write(step, 1, {"train/loss": float(step)})
    MetricsLog(path, tensorboard_dir=None, step=2).write(3, 1, {"train/loss": 30.0})

    assert [(r["step"], r["train/loss"]) for r in read_metrics(path)] == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "epoch": 1}\n{"step": 2, "ep')

    assert [r["step"] for r in read_metrics(path)] == [1]


def test_what_is_not_finite_is_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path, tensorboard_dir=None, step=0).write(1, 1, {"train/loss": float("nan")})

    assert json.loads(path.read_text()) == {"step": 1, "epoch": 1, "train/loss": None}


def test_tensorboard_gets_the_same_names(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = MetricsLog(tmp_path / "metrics.jsonl", tensorboard_dir=tmp_path / "board", step=0)
    log.write(7, 1, {"train/loss": 0.5, "val/top1": 50.0})
    log.close()
    events = EventAccumulator(str(tmp_path / "board")).Reload()

    assert set(events.Tags()["scalars"]) == {"train/loss", "val/top1"}
    assert [(e.step, e.value) for e in events.Scalars("val/top1")] == [(7, 50.0)]


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path / "metrics.jsonl", tensorboard_dir=None, step=0)
    monkeypatch.setattr(
        "pathlib.Path.open", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl could not be written: No space left"):
        log.write(1, 1, {})
