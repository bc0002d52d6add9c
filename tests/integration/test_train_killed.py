"""A run that is killed at random, again and again, ends with the bits of the run that never was."""

import contextlib
import os
import random
import signal

import pytest
import torch
from support.runs import ForkedTraining, write_dataset

from tsn_tsm_plugin.engine.checkpoint import list_checkpoints, load_checkpoint
from tsn_tsm_plugin.runs.metrics_log import read_metrics

NUM_KILLS = 8
# Three steps an epoch, and a checkpoint after the second and the third: a kill loses a step or two.
OPTS = {
    "SOLVER.MAX_EPOCH": "4",
    "TRAIN.CHECKPOINT_STEPS": "2",
    "TRAIN.EVAL_PERIOD": "2",
    "TRAIN.MAX_CLIPS_PER_FORWARD": "2",
    "MIXUP.ENABLE": "True",
    "DATA_LOADER.NUM_WORKERS": "1",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"))


def test_killed_at_random_the_run_ends_with_the_same_bits(tmp_path, data):
    opts = [word for pair in OPTS.items() for word in pair]
    (tmp_path / "whole").mkdir()
    whole = ForkedTraining(tmp_path / "whole", data=data, opts=opts)
    code, said = whole.end()
    assert code == 0, said

    moments = random.Random(0)
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "run" / "checkpoints").mkdir(parents=True)
    unfinished = tmp_path / "killed" / "run" / "checkpoints" / ".step_00000001.1.unfinished.pt"
    unfinished.write_bytes(b"a process was killed while it wrote this")
    num_killed = 0
    for _ in range(NUM_KILLS):
        training = ForkedTraining(tmp_path / "killed", data=data, opts=opts)
        training.wait_at_most(moments.uniform(0.05, 0.4))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(training.pid, signal.SIGKILL)
        code, said = training.end()
        assert code in (0, -signal.SIGKILL), said
        num_killed += code != 0
    last = ForkedTraining(tmp_path / "killed", data=data, opts=opts)
    code, said = last.end()

    assert code == 0, said
    assert num_killed >= 2, num_killed
    assert not unfinished.exists()
    mine, theirs = (load_checkpoint(list_checkpoints(t.run / "checkpoints")[0]) for t in (last, whole))
    assert mine["step"] == theirs["step"] == 12
    for key, tensor in theirs["model_state"].items():
        assert torch.equal(mine["model_state"][key], tensor), key
    steps = [r["step"] for r in read_metrics(last.run / "metrics.jsonl") if "train/loss" in r]
    assert steps == list(range(1, 13))
