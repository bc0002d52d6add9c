"""Metrics: one record per line, none twice after a resume, the same names for TensorBoard."""

import importlib.util
import json

import pytest
from support.runs import tiny_cfg

from tsn_tsm_plugin.engine.preflight import check_before_run
from tsn_tsm_plugin.errors import ConfigError, RunFolderError
from tsn_tsm_plugin.registry import LOGGERS
from tsn_tsm_plugin.runs.metrics_log import MetricsLog, read_metrics


def test_records_of_steps_that_will_be_taken_again_are_removed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, step=0)
    for step in (1, 2, 3):
        log.write(step, 1, {"train/loss": float(step)})
    MetricsLog(path, step=2).write(3, 1, {"train/loss": 30.0})

    assert [(r["step"], r["train/loss"]) for r in read_metrics(path)] == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_a_line_that_was_cut_off_is_skipped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "epoch": 1}\n{"step": 2, "ep')

    assert [r["step"] for r in read_metrics(path)] == [1]


def test_what_is_not_finite_is_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path, step=0).write(1, 1, {"train/loss": float("nan")})

    assert json.loads(path.read_text()) == {"step": 1, "epoch": 1, "train/loss": None}


def open_logger(name, folder, *, step=0, **options):
    return LOGGERS.create(
        name, options=options, folder=folder, run_name=folder.name, recipe={"SOLVER.BASE_LR": 0.1}, step=step
    )


def test_tensorboard_gets_the_same_names(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = MetricsLog(
        tmp_path / "metrics.jsonl", loggers=[lambda: open_logger("tensorboard", tmp_path)], step=0
    )
    log.write(7, 1, {"train/loss": 0.5, "val/top1": 50.0})
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()

    assert set(events.Tags()["scalars"]) == {"train/loss", "val/top1"}
    assert [(e.step, e.value) for e in events.Scalars("val/top1")] == [(7, 50.0)]


def test_tensorboard_hides_the_events_after_the_step_of_a_resume(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, steps in ((0, (1, 2, 3)), (1, (2,))):
        board = open_logger("tensorboard", tmp_path, step=start)
        for step in steps:
            board.write(step, 1, {"train/loss": step + 10.0 * start})
        board.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()

    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(1, 1.0), (2, 12.0)]


def test_csv_has_a_column_for_each_number_and_goes_on_after_a_resume(tmp_path):
    first = open_logger("csv", tmp_path)
    first.write(1, 1, {"train/loss": 2.0})
    first.write(2, 1, {"train/loss": float("inf"), "val/top1": 50.0})
    first.write(3, 2, {"train/loss": 9.0})
    open_logger("csv", tmp_path, step=2).write(3, 2, {"train/loss": 1.0})

    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "step,epoch,train/loss,val/top1", "1,1,2.0,", "2,1,,50.0", "3,2,1.0,",
    ]  # fmt: skip


def test_a_logger_that_fails_is_dropped_and_the_run_goes_on(tmp_path, caplog):
    class Broken:
        def write(self, step, epoch, values):
            raise ConnectionError("server is gone")

    log = MetricsLog(
        tmp_path / "metrics.jsonl", loggers=[Broken, lambda: open_logger("csv", tmp_path)], step=0
    )
    log.write(1, 1, {"train/loss": 1.0})
    log.write(2, 1, {"train/loss": 1.0})
    log.close()

    assert caplog.text.count("server is gone") == 1
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 2
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_whose_package_is_missing_is_a_sentence_before_the_run(tmp_path, monkeypatch, name):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda n, *a: None if n == name else find(n, *a))
    cfg = tiny_cfg(tmp_path, data=tmp_path, LOGGERS=f"[{name}]")

    sentence = rf'LOGGERS {name} needs the package {name}: pip install "tsn_tsm_plugin\[{name}\]"'
    with pytest.raises(ConfigError, match=sentence):
        check_before_run(cfg, "train")


@pytest.mark.extras
def test_wandb_keeps_one_run_over_a_resume(tmp_path):
    pytest.importorskip("wandb")
    ids = []
    for step in (0, 2):
        log = open_logger("wandb", tmp_path, step=step, project="test", mode="offline")
        log.write(step + 1, 1, {"train/loss": 1.0})
        log.close()
        ids.append((tmp_path / "wandb_id.txt").read_text())

    assert ids[0] == ids[1] and list(tmp_path.glob("wandb/offline-run-*"))


@pytest.mark.extras
def test_mlflow_keeps_one_run_over_a_resume(tmp_path, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    for step in (0, 2):
        log = open_logger("mlflow", tmp_path, step=step, tracking_uri=uri)
        log.write(step + 1, 1, {"train/loss": 1.0 + step})
        log.close()

    run_id = (tmp_path / "mlflow_id.txt").read_text().strip()
    client = tracking.MlflowClient(tracking_uri=uri)
    history = client.get_metric_history(run_id, "train/loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (3, 3.0)]
    assert client.get_run(run_id).data.params == {"SOLVER.BASE_LR": "0.1"}


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    log = MetricsLog(tmp_path / "metrics.jsonl", step=0)
    monkeypatch.setattr(
        "pathlib.Path.open", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl could not be written: No space left"):
        log.write(1, 1, {})
