"""How long ranks wait for each other, and which GPU is whose."""

import time

import pytest
import torch
import torch.distributed as dist
from support.ranks import join_from_env

from tsn_tsm_plugin import distributed
from tsn_tsm_plugin.ranks import Ranks


def wait_for_one_who_sleeps() -> None:
    distributed.init_process_group_from_env(timeout_seconds=1.0)
    ranks = Ranks()
    if ranks.rank == 1:
        time.sleep(4.0)
    else:
        with pytest.raises(RuntimeError, match="(?i)timed? ?out"):
            ranks.sum([1.0])


def test_ranks_wait_for_a_lost_one_no_longer_than_asked():
    join_from_env(2, wait_for_one_who_sleeps)


@pytest.mark.parametrize("has_group", [True, False])
def test_each_process_of_a_node_gets_its_own_gpu_in_any_group(monkeypatch, has_group):
    chosen, made = [], []
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "5")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(dist, "is_initialized", lambda: has_group)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **options: made.append(backend))

    assert distributed.init_process_group_from_env() is not has_group
    assert chosen == [1]
    assert made == ([] if has_group else ["nccl"])
