"""Several ranks train and evaluate as one: gloo processes on this machine."""

import itertools
import random
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from support.ranks import spawn, start
from support.runs import tiny_cfg, train_exactly, write_dataset
from support.tiers import slow_but

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.engine.checkpoint import list_checkpoints, load_checkpoint
from tsn_tsm_plugin.errors import RunFolderError, VideoError
from tsn_tsm_plugin.ranks import Ranks


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"), num_train=8, num_val=5)


def train_without_batch_norm(cfg: CfgNode) -> None:
    """Train with batch norm at its initial statistics."""
    torch.nn.BatchNorm2d.forward = lambda self, x: torch.nn.functional.batch_norm(
        x, self.running_mean, self.running_var, self.weight, self.bias, False
    )
    engine.train(cfg)


def stop_when_rank_1_is_asked(cfg: CfgNode) -> None:
    polls = itertools.count()
    with pytest.raises(engine.TrainingStopped, match="after step 1;"):
        engine.train(cfg, stop_requested=lambda: dist.get_rank() == 1 and next(polls) >= 1)


def evaluate_and_keep(cfg: CfgNode) -> None:
    results = engine.evaluate(cfg)
    torch.save(results, f"{cfg.OUTPUT_DIR}/results_{dist.get_rank()}.pt")


def final_state(run: Path) -> dict:
    return load_checkpoint(list_checkpoints(run / "checkpoints")[0])


def test_two_ranks_with_and_without_accumulation_end_with_the_weights_of_one_process(tmp_path, data):
    for world_size, at_once, out in ((1, 0, "one"), (2, 0, "two"), (2, 1, "parts")):
        options = {"MODEL__DROPOUT_RATE": 0.0, "TRAIN__MAX_CLIPS_PER_FORWARD": at_once}
        cfg = tiny_cfg(tmp_path, data=data, out=out, **options)
        spawn(world_size, tmp_path, partial(train_without_batch_norm, cfg))
    one, two, parts = (final_state(tmp_path / name)["model_state"] for name in ("one", "two", "parts"))

    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6, msg=name)
        torch.testing.assert_close(parts[name], one[name], rtol=1e-4, atol=1e-6, msg=name)


def test_plain_batch_norm_sees_the_clips_of_its_own_rank(tmp_path, data):
    for world_size in (1, 2):
        out = f"of_{world_size}"
        cfg = tiny_cfg(tmp_path, data=data, out=out, MODEL__DROPOUT_RATE=0.0, SOLVER__MAX_EPOCH=1)
        spawn(world_size, tmp_path, partial(engine.train, cfg))
    one, two = (final_state(tmp_path / name)["model_state"] for name in ("of_1", "of_2"))

    assert not torch.allclose(two["backbone.stem.0.weight"], one["backbone.stem.0.weight"], rtol=1e-3)


@pytest.mark.parametrize("compression", ["off", "bf16"])
def test_two_ranks_stop_together_and_go_on_to_the_same_bits(tmp_path, data, compression):
    options = {"DDP__GRADIENT_COMPRESSION": compression, "DDP__STATIC_GRAPH": compression == "bf16"}
    cfg, parts_cfg = (tiny_cfg(tmp_path, data=data, out=out, **options) for out in ("whole", "parts"))
    spawn(2, tmp_path, partial(engine.train, cfg))
    spawn(2, tmp_path, partial(stop_when_rank_1_is_asked, parts_cfg))
    spawn(2, tmp_path, partial(engine.train, parts_cfg))
    whole, parts = (final_state(tmp_path / name) for name in ("whole", "parts"))

    assert all(torch.equal(whole["model_state"][k], parts["model_state"][k]) for k in whole["model_state"])
    assert torch.equal(whole["random_state"][1]["torch"], parts["random_state"][1]["torch"])
    assert "Going on from" in (tmp_path / "parts" / "log.txt").read_text()


MANY_RANKS = {
    "plain": {},
    "bf16 gradients": {"DDP__GRADIENT_COMPRESSION": "bf16"},
    "static graph": {"DDP__STATIC_GRAPH": True},
    "accumulation": {"TRAIN__MAX_CLIPS_PER_FORWARD": 1},
}


@pytest.fixture(scope="module")
def many_videos(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("many"), num_train=48, num_val=3)


@pytest.mark.parametrize("options", slow_but(["plain"], MANY_RANKS))
@pytest.mark.parametrize(
    "world_size", [3, pytest.param(4, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow)]
)
def test_many_ranks_stop_together_and_go_on_to_the_same_bits(tmp_path, many_videos, world_size, options):
    """Beyond two ranks the order of additions counts, and with it the buckets of the first step."""
    options = options | {
        "TRAIN__BATCH_SIZE": 2 * world_size,
        "SOLVER__MAX_EPOCH": 1,
        "TRAIN__EVAL_PERIOD": 0,
    }
    whole_cfg, cfg = (tiny_cfg(tmp_path, data=many_videos, out=out, **options) for out in ("whole", "parts"))
    spawn(world_size, tmp_path, partial(engine.train, whole_cfg))
    spawn(world_size, tmp_path, partial(stop_when_rank_1_is_asked, cfg))
    spawn(world_size, tmp_path, partial(engine.train, cfg))

    whole, parts = (final_state(tmp_path / out) for out in ("whole", "parts"))
    assert whole["step"] == parts["step"] >= 3
    differing = [
        name
        for name, tensor in whole["model_state"].items()
        if not torch.equal(parts["model_state"][name], tensor)
    ]
    assert differing == []


def test_on_fewer_ranks_a_run_resumes_with_the_same_batches_and_accumulates(tmp_path, data):
    options = {"SOLVER__MAX_EPOCH": 1, "TRAIN__EVAL_PERIOD": 0}
    spawn(2, tmp_path, partial(train_exactly, tiny_cfg(tmp_path, data=data, **options), steps=1))
    engine.train(tiny_cfg(tmp_path, data=data, **options))

    log = (tmp_path / "run" / "log.txt").read_text()
    assert (
        "Resumed on 1 instead of 2 processes: each adds up the gradients of forward passes of 2 clips" in log
    )
    assert "the weights will differ in their bits" in log
    assert "TRAIN.MAX_CLIPS_PER_FORWARD: 0 -> 2" in (tmp_path / "run" / "config_changes.jsonl").read_text()
    newest = load_checkpoint(list_checkpoints(tmp_path / "run" / "checkpoints")[0])
    assert newest["step"] == newest["steps_per_epoch"]


def test_the_results_do_not_depend_on_the_number_of_ranks(tmp_path, data):
    engine.train(tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1))
    weights = str(list_checkpoints(tmp_path / "run" / "checkpoints")[0])
    one = engine.evaluate(tiny_cfg(tmp_path, data=data, TEST__CHECKPOINT_FILE_PATH=weights))

    for world_size in (2, 3, 4):
        out = f"of_{world_size}"
        cfg = tiny_cfg(tmp_path, data=data, out=out, TEST__CHECKPOINT_FILE_PATH=weights)
        spawn(world_size, tmp_path, partial(evaluate_and_keep, cfg))
        for rank in range(world_size):
            many = torch.load(tmp_path / out / f"results_{rank}.pt", weights_only=True)
            for key in ("top1", "balanced_accuracy", "num_videos", "confusion_matrix", "classes"):
                assert many[key] == one[key], key


def fail_on_main() -> None:
    def work():
        raise VideoError("no such thing")

    kind = VideoError if dist.get_rank() == 0 else RunFolderError
    with pytest.raises(kind, match="no such thing"):
        Ranks().on_main(work)


def test_what_fails_on_rank_0_fails_everywhere(tmp_path):
    spawn(2, tmp_path, fail_on_main)


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_ranks_killed_at_random_end_with_the_same_bits(tmp_path, data, world_size):
    options = {
        "SOLVER__MAX_EPOCH": 12,
        "TRAIN__CHECKPOINT_STEPS": 1,
        "TRAIN__EVAL_PERIOD": 0,
        "MIXUP__ENABLE": True,
        "DATA_LOADER__NUM_WORKERS": 1,
        "TRAIN__BATCH_SIZE": max(4, world_size),
    }
    whole, killed = (tiny_cfg(tmp_path, data=data, out=out, **options) for out in ("whole", "killed"))
    spawn(world_size, tmp_path, partial(engine.train, whole))

    moments, num_killed = random.Random(0), 0
    for _ in range(5):
        ranks = start(world_size, tmp_path, partial(engine.train, killed))
        ranks.processes[0].join(timeout=moments.uniform(0.1, 0.5) * world_size / 2)
        num_killed += ranks.processes[0].is_alive()
        for process in ranks.processes:
            process.kill()
            process.join()
    spawn(world_size, tmp_path, partial(engine.train, killed))

    assert num_killed >= 2
    mine, theirs = (final_state(tmp_path / out) for out in ("killed", "whole"))
    assert mine["step"] == theirs["step"]
    for key, tensor in theirs["model_state"].items():
        assert torch.equal(mine["model_state"][key], tensor), key
