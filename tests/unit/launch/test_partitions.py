"""Partitions as sinfo reports them, and the nodes that a job fits on."""

import pytest

from launch.cluster import partitions
from launch.cluster.partitions import NodeKind, Partition


def partition(*kinds: tuple[int, int, int]) -> Partition:
    return Partition("main", True, 0, tuple(NodeKind(*kind) for kind in kinds))


@pytest.fixture
def sinfo(tmp_path, monkeypatch):
    """Put a sinfo on PATH that answers with given lines."""
    partitions.partitions.cache_clear()

    def install(*lines):
        file = tmp_path / "sinfo"
        file.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    yield install
    partitions.partitions.cache_clear()


def test_nodes_are_counted_by_their_gpus_in_each_line_of_sinfo(sinfo):
    sinfo(
        "gpu*|1-00:00:00|2|64|gpu:a100:8(S:0-1)",
        "gpu*|1-00:00:00|3|32+|gpu:4",
        "gpu*|1-00:00:00|1|64|gpu:a100:6,gpu:h100:2",
        "cpu|infinite|10|16|(null)",
    )

    found = partitions.partitions()

    kinds = (NodeKind(2, cpus=64, gpus=8), NodeKind(3, cpus=32, gpus=4), NodeKind(1, cpus=64, gpus=8))
    gpu = Partition("gpu", True, 1440, kinds)
    assert found == {"gpu": gpu, "cpu": Partition("cpu", False, 0, (NodeKind(10, cpus=16, gpus=0),))}
    assert gpu.num_nodes == 6
    assert gpu.nodes_in_words() == "3 nodes with 8 GPUs and 3 nodes with 4 GPUs"


@pytest.mark.parametrize(
    ("kinds", "num_nodes", "gpus"),
    [
        ([(10, 16, 0)], 1, 0),
        ([(10, 16, 0), (4, 64, 8)], 4, 8),
        ([(2, 64, 8), (3, 32, 4)], 2, 8),
        ([(2, 64, 8), (3, 32, 4)], 3, 4),
        # Never a training without GPUs because too many nodes were asked for.
        ([(10, 16, 0), (4, 64, 8)], 5, 8),
        ([(2, 64, 8), (3, 32, 4)], 6, 8),
    ],
)
def test_a_job_takes_the_most_gpus_that_enough_nodes_have(kinds, num_nodes, gpus):
    assert partition(*kinds).most_gpus(num_nodes) == gpus


@pytest.mark.parametrize(
    ("gpus", "num_tasks", "cpus"),
    [(8, 8, 64), (4, 4, 32), (0, 1, 4), (0, 8, 32), (9, 9, 0)],
)
def test_a_job_may_have_the_cpus_of_every_node_that_it_fits_on(gpus, num_tasks, cpus):
    nodes = partition((5, 4, 0), (2, 64, 8), (3, 32, 4))

    assert nodes.fewest_cpus(gpus=gpus, cpus=num_tasks) == cpus


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ([(1, 16, 0)], "1 node without GPUs"),
        (
            [(9, 8, 0), (4, 8, 8), (1, 8, 1)],
            "4 nodes with 8 GPUs, 1 node with 1 GPU and 9 nodes without GPUs",
        ),
        ([(10, 16, 4), (4, 64, 4)], "14 nodes with 4 GPUs"),
    ],
)
def test_a_partition_names_its_nodes_by_their_gpus(kinds, words):
    assert partition(*kinds).nodes_in_words() == words
