"""Ranks add up small numbers along a tree, in few hops, while they compute."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest
from support.ranks import spawn

from tsn_tsm_plugin.ranks import Ranks

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def agreement():
    spec = importlib.util.spec_from_file_location("agreement", BENCHMARKS / "agreement.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["agreement"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5, 7, 8, 13, 64, 200])
def test_every_rank_gets_the_sum_after_two_hops_per_level_of_the_tree(agreement, world_size):
    sums, seconds = agreement.simulate(world_size, per_node=1, hops=agreement.Hops(1.0, 1.0))

    assert [numbers[:2] for numbers in sums] == [[world_size, sum(range(world_size))]] * world_size
    assert seconds <= 2 * math.ceil(math.log2(world_size))


def test_a_tree_over_nodes_leaves_a_node_once_per_level_above_it(agreement):
    _, seconds = agreement.simulate(64, per_node=8, hops=agreement.Hops(within=0.0, between=1.0))
    assert seconds == 2 * math.log2(64 / 8)


def sum_twice() -> None:
    ranks = Ranks()
    first, second = ranks.start_sum([1.0, ranks.rank]), ranks.start_sum([10.0])
    everyone = ranks.gather(ranks.rank)  # meanwhile
    assert second.result() == [30.0]
    assert first.result() == [3.0, 3.0]
    assert everyone == [0, 1, 2]
    assert ranks.sum([0.5]) == [1.5]


def test_sums_that_were_begun_travel_while_ranks_gather(tmp_path):
    spawn(3, tmp_path, sum_twice)
