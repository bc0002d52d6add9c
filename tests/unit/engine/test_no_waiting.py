"""The loop does not wait for the device: no read-back, and batches and agreements come under the steps."""

import functools
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from support.ranks import spawn
from support.read_backs import ReadBacks
from support.runs import tiny_cfg, write_dataset

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.engine.device import DeviceCopies, batches_on
from tsn_tsm_plugin.engine.optimizer_step import StepLog, StepResult
from tsn_tsm_plugin.engine.score_split import SplitScorer

LOG_PERIOD = 20
REPEATED = {"TRAIN__NUM_REPEATS": 11}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"), num_train=8, num_val=40)


class Counting(engine.Hook):
    """Counts from before a step to after it and, in between, from after a step to before the next."""

    def __init__(self):
        self.in_steps, self.between, self.steps = [], [], 0
        self._reads = ReadBacks()

    def before_step(self, trainer, batch):
        self._reads.__enter__()

    def after_step(self, trainer, batch, result):
        self._reads.__exit__(None, None, None)
        self.steps += 1
        self.in_steps += self._reads.found
        self._reads = ReadBacks()


OPTIONS = {
    "SGD": {},
    "AdamW": {"SOLVER__OPTIMIZING_METHOD": "adamw"},
    "clipping": {"SOLVER__CLIP_GRAD_L2NORM": 0.1},
    "moving average": {"EMA__ENABLE": True},
    "bf16": {"TRAIN__MIXED_PRECISION": "bf16"},
    "fp16": {"TRAIN__MIXED_PRECISION": "fp16"},
    "accumulation": {"TRAIN__MAX_CLIPS_PER_FORWARD": 3},
    "partial batch norm": {"MODEL__PARTIAL_BN": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_no_step_reads_anything_back(tmp_path, data, options):
    counting = Counting()
    cfg = tiny_cfg(
        tmp_path, data=data, LOG_PERIOD=100, SOLVER__MAX_EPOCH=1, TRAIN__EVAL_PERIOD=0, **REPEATED, **options
    )
    engine.train(cfg, hooks=[counting])

    assert counting.steps == 22
    assert counting.in_steps == []


class FirstAndLast(engine.Hook):
    """Counts over twenty whole turns of the loop, the fetching of batches included."""

    def __init__(self):
        self.reads = ReadBacks()
        self.steps = 0

    def before_step(self, trainer, batch):
        self.steps += 1
        if self.steps == 1:
            self.reads.__enter__()
        if self.steps == 1 + LOG_PERIOD:
            self.reads.__exit__(None, None, None)


def test_twenty_turns_of_the_loop_read_once_at_the_line_of_the_log(tmp_path, data):
    counting = FirstAndLast()
    options = REPEATED | {"LOG_PERIOD": LOG_PERIOD, "SOLVER__MAX_EPOCH": 1, "TRAIN__EVAL_PERIOD": 0}
    # Workers read the videos: what they compute there is on their side.
    engine.train(tiny_cfg(tmp_path, data=data, DATA_LOADER__NUM_WORKERS=1, **options), hooks=[counting])

    assert counting.steps == 22
    assert counting.reads.found == ["tolist"]  # the line of the log


def test_validation_reads_scores_many_batches_at_a_time(tmp_path, data, monkeypatch):
    counts = []
    score = SplitScorer.__call__

    def counted(self, *args, **kwargs):
        with ReadBacks() as reads:
            result = score(self, *args, **kwargs)
        counts.append(reads.found)
        return result

    monkeypatch.setattr(SplitScorer, "__call__", counted)
    options = {"SOLVER__MAX_EPOCH": 1, "TEST__BATCH_SIZE": 2, "DATA_LOADER__NUM_WORKERS": 1}
    engine.train(tiny_cfg(tmp_path, data=data, **options))

    (found,) = counts  # the final test, which is the validation too
    assert found.count("cpu") == 2  # of 20 batches
    first = found.index("cpu")
    assert found[first : first + 2] == ["cpu", "cpu"]  # nothing between them


def test_the_log_of_the_steps_is_read_by_one_transfer():
    log = StepLog(torch.device("cpu"), capacity=3)
    for number in range(3):
        values = [torch.tensor(float(number)) for _ in range(3)]
        log.add(StepResult(*values, torch.tensor(number != 1), torch.tensor(1.0)))
    with ReadBacks() as reads:
        rows = log.read()

    assert reads.found == ["tolist"]
    assert [row.loss for row in rows] == [0.0, 1.0, 2.0]
    assert [row.is_applied for row in rows] == [True, False, True]
    assert log.read() == []


class FakeStreams:
    """Stands in for torch.cuda and notes what is asked of it."""

    def __init__(self):
        self.said = []
        self.current = FakeStream("compute", self.said)

    def Stream(self, device):  # noqa: N802
        return FakeStream("side", self.said)

    def stream(self, stream):
        return stream

    def current_stream(self, device):
        return self.current


class FakeStream:
    def __init__(self, name, said):
        self.name, self.said = name, said

    def __enter__(self):
        self.said.append(f"begin on {self.name}")

    def __exit__(self, *error):
        self.said.append(f"end on {self.name}")

    def wait_stream(self, other):
        self.said.append(f"{self.name} waits for {other.name}")


class FakeTensor:
    def __init__(self, said):
        self.said = said

    def to(self, device, *, non_blocking):
        self.said.append(f"copy, {'without' if non_blocking else 'with'} waiting")
        return self

    def record_stream(self, stream):
        self.said.append(f"kept for {stream.name}")


def test_a_batch_is_copied_on_a_side_stream_without_waiting_and_kept_for_the_computation():
    streams = FakeStreams()
    copies = DeviceCopies(torch.device("cuda", 0), names=("video",), streams=streams)
    batch = copies.start({"video": FakeTensor(streams.said), "video_name": ["a"]})
    assert streams.said == ["begin on side", "copy, without waiting", "end on side"]

    streams.said.clear()
    assert copies.finish(batch)["video_name"] == ["a"]
    assert streams.said == ["compute waits for side", "kept for compute"]


def test_each_batch_is_fetched_while_the_one_before_is_in_use():
    said = []

    def fetched():
        for number in range(3):
            said.append(f"fetch {number}")
            yield {"video": number}

    for batch in batches_on(torch.device("cpu"), fetched()):
        said.append(f"use {batch['video']}")
    assert said == ["fetch 0", "fetch 1", "use 0", "fetch 2", "use 1", "use 2"]


class SaysWhenItComputes(engine.Hook):
    def __init__(self, folder):
        self.folder = folder

    def before_step(self, trainer, batch):
        (self.folder / f"rank_{dist.get_rank()}_step_{trainer.step + 1}").touch()


def train_beside_a_slow_rank(cfg, folder: Path) -> None:
    """Rank 1 agrees on a step only once rank 0 computes the step before: a rank that waits waits forever."""
    polls = 0

    def slow_to_agree() -> bool:
        nonlocal polls
        polls += 1
        if dist.get_rank() == 1 and 1 < polls <= 22:
            time.sleep(0.1)
            deadline = time.monotonic() + 60
            while not (folder / f"rank_0_step_{polls - 1}").exists():
                assert time.monotonic() < deadline, f"rank 0 waits before step {polls - 1}"
                time.sleep(0.001)
        return False

    engine.train(cfg, hooks=[SaysWhenItComputes(folder)], stop_requested=slow_to_agree)


def test_the_ranks_agree_on_a_step_under_the_step_before(tmp_path, data):
    cfg = tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1, TRAIN__EVAL_PERIOD=0, LOG_PERIOD=100, **REPEATED)
    (tmp_path / "said").mkdir()
    (tmp_path / "ranks").mkdir()
    spawn(2, tmp_path / "ranks", functools.partial(train_beside_a_slow_rank, cfg, tmp_path / "said"))

    assert (tmp_path / "said" / "rank_0_step_22").exists()
