"""A whole run on real video files, and runs that were stopped and went on: the same bits at the end."""

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch
from support.runs import CLASSES, tiny_cfg, write_dataset

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.engine.checkpoint import list_checkpoints, load_checkpoint
from tsn_tsm_plugin.errors import CheckpointError, RunFolderError
from tsn_tsm_plugin.runs.metrics_log import read_metrics

STEPS = 6  # two epochs of three steps


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("whole")
    results = engine.train(tiny_cfg(folder, data=data))
    return folder / "run", results


@pytest.fixture
def copied_run(tmp_path, whole_run):
    """Copy the whole run, so that a test may change it without training it again."""
    shutil.copytree(whole_run[0], tmp_path / "run")


def stop_after(steps: int):
    """Ask to stop when training asks for the ``steps + 1``-th time."""
    polls = itertools.count()
    return lambda: next(polls) >= steps


def final_state(run: Path) -> dict:
    return load_checkpoint(list_checkpoints(run / "checkpoints")[0])


def assert_same_bits(one, other, where="") -> None:
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same_bits(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same_bits(a, b, f"{where}[{i}]")
    else:
        assert one == other, where


def assert_same_end(run: Path, whole: Path) -> None:
    mine, theirs = final_state(run), final_state(whole)
    for key in ("model_state", "optimizer_state", "random_state", "step", "epoch", "batch"):
        assert_same_bits(mine[key], theirs[key], key)


def test_a_run_leaves_everything_a_person_needs(whole_run):
    run, results = whole_run

    assert json.loads((run / "results.json").read_text()) == results
    assert results["num_videos"] == 5
    assert [c["name"] for c in results["classes"]] == list(CLASSES)
    assert sum(map(sum, results["confusion_matrix"])) == 5
    assert {"config.yaml", "environment.json", "log.txt", "metrics.jsonl"} <= {p.name for p in run.iterdir()}
    assert {p.name for p in (run / "plots").iterdir()} == {
        *("calibration.png", "confusion_matrix.png", "curves.png")
    }
    assert {p.name for p in (run / "checkpoints").iterdir()} == {
        "step_00000003.pt", "step_00000006.pt", "best.pt",
    }  # fmt: skip
    assert (
        json.loads((run / "environment.json").read_text())["packages"]["torch"]
        == torch.__version__.split("+")[0]
    )


def test_the_log_names_what_is_trained(whole_run):
    log = (whole_run[0] / "log.txt").read_text()

    for words in ("num_segments=2", "shift at 1 sites", "10 training videos", "classifier_bias", "top-1"):
        assert words in log


def test_metrics_have_one_record_per_step_and_one_per_validation(whole_run):
    records = read_metrics(whole_run[0] / "metrics.jsonl")

    assert [r["step"] for r in records if "train/loss" in r] == [1, 2, 3, 4, 5, 6]
    assert [r["step"] for r in records if "val/top1" in r] == [3, 6]
    assert [r["train/lr"] for r in records if "train/lr" in r] == pytest.approx([0.01] * 3 + [0.001] * 3)


@pytest.mark.parametrize("steps", range(STEPS))
def test_a_run_stopped_anywhere_ends_with_the_same_bits(tmp_path, data, whole_run, steps):
    cfg = tiny_cfg(tmp_path, data=data)
    with pytest.raises(engine.TrainingStopped, match=f"after step {steps}; the same command goes on"):
        engine.train(cfg, stop_requested=stop_after(steps + (steps >= 3) * 2))  # validation polls, too
    results = engine.train(cfg)

    assert_same_end(tmp_path / "run", whole_run[0])
    assert results["confusion_matrix"] == whole_run[1]["confusion_matrix"]
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [r["step"] for r in records if "train/loss" in r] == [1, 2, 3, 4, 5, 6]


def test_a_run_stopped_while_it_validates_validates_again(tmp_path, data, whole_run):
    cfg = tiny_cfg(tmp_path, data=data)
    with pytest.raises(engine.TrainingStopped, match="after step 3;"):
        engine.train(cfg, stop_requested=stop_after(3))
    engine.train(cfg)

    assert_same_end(tmp_path / "run", whole_run[0])
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [r["step"] for r in records if "val/top1" in r] == [3, 6]


def test_a_run_stopped_while_it_is_tested_is_tested_again(tmp_path, data, whole_run):
    cfg = tiny_cfg(tmp_path, data=data)
    with pytest.raises(engine.TrainingStopped, match="after step 6;"):
        engine.train(cfg, stop_requested=stop_after(8))

    assert not (tmp_path / "run" / "results.json").exists()
    assert engine.train(cfg)["confusion_matrix"] == whole_run[1]["confusion_matrix"]


def test_workers_change_nothing(tmp_path, data, whole_run):
    engine.train(tiny_cfg(tmp_path, data=data, DATA_LOADER__NUM_WORKERS=2))

    assert_same_end(tmp_path / "run", whole_run[0])


@pytest.mark.usefixtures("copied_run")
def test_a_damaged_newest_checkpoint_is_skipped_and_named(tmp_path, data, whole_run):
    cfg = tiny_cfg(tmp_path, data=data)
    newest = list_checkpoints(tmp_path / "run" / "checkpoints")[0]
    newest.write_bytes(newest.read_bytes()[:1000])
    engine.train(cfg)

    assert_same_end(tmp_path / "run", whole_run[0])
    log = (tmp_path / "run" / "log.txt").read_text()
    assert f"{newest} is cut off, damaged" in log
    assert "Going on from" in log and "step_00000003.pt" in log


@pytest.mark.usefixtures("copied_run")
def test_a_finished_run_gives_its_results_again(tmp_path, data, whole_run):
    cfg = tiny_cfg(tmp_path, data=data)
    written = list_checkpoints(tmp_path / "run" / "checkpoints")[0].stat().st_mtime_ns
    second = engine.train(cfg)

    assert second == whole_run[1]
    assert list_checkpoints(tmp_path / "run" / "checkpoints")[0].stat().st_mtime_ns == written


def test_without_auto_resume_a_used_folder_is_refused(data, whole_run):
    cfg = tiny_cfg(whole_run[0].parent, data=data, TRAIN__AUTO_RESUME=False)
    with pytest.raises(RunFolderError, match=r"already holds the checkpoints of a run.*AUTO_RESUME is off"):
        engine.train(cfg)


def test_going_on_with_another_network_is_refused_by_key(data, whole_run):
    cfg = tiny_cfg(whole_run[0].parent, data=data, TSM__SHIFT_DIV=4, SOLVER__MAX_EPOCH=3)
    with pytest.raises(CheckpointError, match=r"cannot go on with another TSM\.SHIFT_DIV: 8 -> 4"):
        engine.train(cfg)


def test_resuming_with_another_schedule_is_reported(tmp_path, data):
    engine.train(tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1))
    engine.train(tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=2))

    assert (
        "changed since the checkpoint: SOLVER.MAX_EPOCH: 1 -> 2" in (tmp_path / "run" / "log.txt").read_text()
    )
    assert final_state(tmp_path / "run")["step"] == STEPS


@pytest.mark.parametrize(("batch_size", "steps_per_epoch"), [(10, 1), (2, 5)], ids=["shorter", "longer"])
@pytest.mark.usefixtures("copied_run")
def test_a_run_goes_on_with_epochs_of_another_length(tmp_path, data, batch_size, steps_per_epoch):
    cfg = tiny_cfg(tmp_path, data=data, TRAIN__BATCH_SIZE=batch_size, SOLVER__MAX_EPOCH=4)
    results = engine.train(cfg)

    last = STEPS + 2 * steps_per_epoch
    newest = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert [int(path.stem.removeprefix("step_")) for path in newest] == [last, last - steps_per_epoch]
    assert (results["step"], results["weights"]) == (last, str(newest[0]))
    losses = [r for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if "train/loss" in r]
    assert {r["step"]: r["epoch"] for r in losses if r["step"] > STEPS} == {
        STEPS + 1 + done: 3 + done // steps_per_epoch for done in range(2 * steps_per_epoch)
    }
    assert [r["step"] for r in losses] == sorted(r["step"] for r in losses)
    state = final_state(tmp_path / "run")
    assert (state["epoch"], state["batch"], state["step"]) == (3, steps_per_epoch, last)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert f"epoch 4 step {steps_per_epoch}/{steps_per_epoch}: " in log

    assert engine.train(cfg)["confusion_matrix"] == results["confusion_matrix"]


def test_a_resumed_run_of_another_epoch_length_keeps_the_schedule_of_epochs(tmp_path, data):
    engine.train(tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1))
    engine.train(tiny_cfg(tmp_path, data=data, TRAIN__BATCH_SIZE=10, SOLVER__MAX_EPOCH=2))

    rates = {
        r["step"]: r["train/lr"] for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if "train/lr" in r
    }
    assert rates == pytest.approx({1: 0.01, 2: 0.01, 3: 0.01, 4: 0.001})


@pytest.mark.parametrize(
    ("key", "value"), [("TRAIN.NUM_REPEATS", 2), ("TRAIN.CLASS_BALANCED", True), ("TRAIN.DROP_LAST", True)]
)
def test_what_orders_the_videos_may_not_change_within_an_epoch(tmp_path, data, key, value):
    with pytest.raises(engine.TrainingStopped, match="after step 1;"):
        engine.train(tiny_cfg(tmp_path, data=data), stop_requested=stop_after(1))

    with pytest.raises(CheckpointError, match=rf"cannot go on in the middle of an epoch with another {key}"):
        engine.train(tiny_cfg(tmp_path, data=data, **{key.replace(".", "__"): value}))


def test_going_on_with_another_head_is_refused_by_key(data, whole_run):
    with pytest.raises(CheckpointError, match=r"cannot go on with another MODEL\.HEAD: '' -> 'tsn'"):
        engine.train(tiny_cfg(whole_run[0].parent, data=data, MODEL__HEAD="tsn", SOLVER__MAX_EPOCH=3))


def test_evaluate_gives_what_training_ended_with(data, whole_run):
    again = engine.evaluate(tiny_cfg(whole_run[0].parent, data=data))

    assert again["confusion_matrix"] == whole_run[1]["confusion_matrix"]
    assert again["loss"] == whole_run[1]["loss"]
    assert again["weights"].endswith("step_00000006.pt")


def test_evaluate_without_weights_names_the_remedy(tmp_path, data):
    with pytest.raises(CheckpointError, match=r"no weights to test.*TEST\.CHECKPOINT_FILE_PATH"):
        engine.evaluate(tiny_cfg(tmp_path, data=data))


def test_a_resumed_run_learns_with_the_settings_of_its_recipe(tmp_path, data):
    first = {"SOLVER__WEIGHT_DECAY": 0.01, "SOLVER__MOMENTUM": 0.5}
    engine.train(tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1, **first))
    second = {"SOLVER__WEIGHT_DECAY": 0.02, "SOLVER__CLASSIFIER_LR_MULT": 2.0}
    engine.train(tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=2, **second))

    groups = {
        group["name"]: group for group in final_state(tmp_path / "run")["optimizer_state"]["param_groups"]
    }
    assert {group["momentum"] for group in groups.values()} == {0.9}
    assert groups["normal_weight"]["weight_decay"] == 0.02
    assert groups["classifier_bias"]["lr_mult"] == 4.0
