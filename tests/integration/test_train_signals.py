"""A signal makes a real process write a checkpoint and print how to resume; the run then resumes."""

import json
import os
import signal
import sys
import time

import pytest
from support.runs import ForkedTraining, write_dataset

from tsn_tsm_plugin.engine.checkpoint import list_checkpoints

MANY = ["SOLVER.MAX_EPOCH", "200", "TRAIN.EVAL_PERIOD", "0", "TRAIN.CHECKPOINT_PERIOD", "1000"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize(
    ("number", "to_group", "workers"),
    [
        (signal.SIGINT, True, 2),
        (signal.SIGTERM, False, 0),
        (signal.SIGTERM, True, 2),
        (signal.SIGUSR1, True, 2),
        (signal.SIGUSR2, False, 0),
    ],
    ids=["Ctrl-C with workers", "SIGTERM", "SIGTERM to all", "SIGUSR1 to all", "SIGUSR2"],
)
def test_a_signal_leaves_a_checkpoint_from_which_the_same_command_goes_on(
    tmp_path, data, number, to_group, workers
):
    training = ForkedTraining(tmp_path, data=data, opts=[*MANY, "DATA_LOADER.NUM_WORKERS", str(workers)])
    training.wait_for_steps(4)
    (os.killpg if to_group else os.kill)(training.pid, number)
    code, said = training.end()

    assert code == 128 + number, said
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    newest = list_checkpoints(training.run / "checkpoints")[0]
    step = int(newest.stem.removeprefix("step_"))
    assert step >= 4

    code, said = ForkedTraining(
        tmp_path, data=data, opts=[*MANY, "SOLVER.MAX_EPOCH", str(step // 3 + 1)]
    ).end()
    assert code == 0, said
    assert f"Going on from {newest}" in said
    assert json.loads((training.run / "results.json").read_text())["num_videos"] == 5


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and sigwaitinfo")
def test_a_scheduler_that_ends_the_workers_first_costs_no_step(tmp_path, data):
    training = ForkedTraining(tmp_path, data=data, opts=[*MANY, "DATA_LOADER.NUM_WORKERS", "2"])
    training.wait_for_steps(4)
    workers = training.children()
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
    training.wait_for_steps(12)  # An epoch is three steps: later ones need the workers.
    os.kill(training.pid, signal.SIGTERM)
    code, said = training.end()

    assert code == 128 + signal.SIGTERM, said
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    assert list_checkpoints(training.run / "checkpoints")


def test_a_run_that_hangs_is_ended_after_the_grace_without_a_checkpoint(tmp_path, data, monkeypatch):
    monkeypatch.setattr("tsn_tsm_plugin.engine.trainer.Trainer._stop", lambda self: time.sleep(60))
    training = ForkedTraining(tmp_path, data=data, opts=[*MANY, "TRAIN.STOP_GRACE_SECONDS", "0.2"])
    training.wait_for_steps(4)
    os.kill(training.pid, signal.SIGTERM)
    code, said = training.end()

    assert code == 128 + signal.SIGTERM
    assert "Signal 15 came 0.2 s ago and no step has ended since (TRAIN.STOP_GRACE_SECONDS)" in said
    assert list_checkpoints(training.run / "checkpoints") == []


def test_a_second_run_in_the_same_folder_is_refused_in_one_line(tmp_path, data):
    first = ForkedTraining(tmp_path, data=data, opts=MANY)
    try:
        first.wait_for_steps(1)
        code, said = ForkedTraining(tmp_path, data=data, opts=MANY).end()
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.end()

    assert code == 2
    assert said.count("\n") == 1
    assert f"error: Another run trains into {tmp_path / 'run'} (process {first.pid} on" in said


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["SOLVER.MAX_EPOCHS", "3"], "did you mean SOLVER.MAX_EPOCH"),
        (["DATA.PATH_TO_DATA_DIR", "nowhere"], "DATA.PATH_TO_DATA_DIR must be an existing folder"),
        (["MODEL.BACKBONE", "resnet5"], "resnet50"),
    ],
)
def test_a_mistake_ends_with_code_2_and_without_a_traceback(tmp_path, data, opts, message):
    code, said = ForkedTraining(tmp_path, data=data, opts=opts).end()

    assert code == 2
    assert message in said
    assert "Traceback" not in said
