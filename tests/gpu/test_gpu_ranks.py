"""Ranks with a GPU each, which exchange over NCCL, in processes that find each other as torchrun's do."""

from functools import partial

import pytest
import torch
from support.devices import on_a_gpu, only_on_a_gpu
from support.ranks import in_a_group_of_one, join_from_env
from support.runs import tiny_cfg, train_exactly, write_dataset

from tsn_tsm_plugin.engine.checkpoint import list_checkpoints, load_checkpoint

SYNCHRONISED = {"BN__NORM_TYPE": "sync_batchnorm", "MODEL__DROPOUT_RATE": 0.0, "SOLVER__MAX_EPOCH": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"), num_train=8, num_val=5)


@pytest.fixture
def two_gpus(device):
    if torch.cuda.device_count() < 2:
        pytest.skip("two NCCL ranks need two GPUs, and this machine has one")


def ranks_train(world_size, cfg, **how):
    join_from_env(world_size, partial(train_exactly, cfg, **how), start_method="spawn")


def final_state(run):
    return load_checkpoint(list_checkpoints(run / "checkpoints")[0])


def assert_same_weights(mine, theirs):
    for name, value in theirs["model_state"].items():  # float32 sums in another order
        torch.testing.assert_close(mine["model_state"][name], value, rtol=1e-3, atol=1e-5, msg=name)


@on_a_gpu
def test_one_rank_in_a_group_of_its_own_trains_with_synchronised_batch_norm(tmp_path, data, device):
    plain = tiny_cfg(tmp_path, data=data, out="plain", MODEL__DROPOUT_RATE=0.0, SOLVER__MAX_EPOCH=1)
    train_exactly(plain)
    work = partial(train_exactly, tiny_cfg(tmp_path, data=data, **SYNCHRONISED))
    join_from_env(1, partial(in_a_group_of_one, work), start_method="spawn")

    assert_same_weights(final_state(tmp_path / "run"), final_state(tmp_path / "plain"))


@only_on_a_gpu
@pytest.mark.usefixtures("two_gpus")
def test_two_ranks_with_synchronised_batch_norm_end_with_the_weights_of_one_process(tmp_path, data, device):
    train_exactly(tiny_cfg(tmp_path, data=data, out="alone", **SYNCHRONISED))
    ranks_train(2, tiny_cfg(tmp_path, data=data, **SYNCHRONISED))

    assert f"2 process(es), {device.type} (" in (tmp_path / "run" / "log.txt").read_text()
    assert_same_weights(final_state(tmp_path / "run"), final_state(tmp_path / "alone"))


@on_a_gpu
@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_that_stopped_go_on_to_the_same_bits(tmp_path, data, device, world_size):
    if device.type == "cuda" and torch.cuda.device_count() < world_size:
        pytest.skip(f"{world_size} NCCL ranks need {world_size} GPUs, got {torch.cuda.device_count()}")
    options = {"DDP__GRADIENT_COMPRESSION": "bf16", "DDP__STATIC_GRAPH": True, "DETERMINISTIC": True}
    whole, parts = (tiny_cfg(tmp_path, data=data, out=out, **options) for out in ("whole", "parts"))
    ranks_train(world_size, whole)
    ranks_train(world_size, parts, steps=1)
    ranks_train(world_size, parts)
    mine, theirs = (final_state(tmp_path / out) for out in ("parts", "whole"))

    assert "Going on from" in (tmp_path / "parts" / "log.txt").read_text()
    assert mine["step"] == theirs["step"]
    for name, value in theirs["model_state"].items():
        assert torch.equal(mine["model_state"][name], value), name
