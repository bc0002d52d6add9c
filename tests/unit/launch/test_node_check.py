import shutil
from collections import namedtuple

import pytest
import torch
import torch.distributed as dist
from support.ranks import spawn

from launch.errors import LaunchError
from launch.rank.node_check import check_ring, fault_of_node
from launch.rank.outcome import FINISHED, UNHEALTHY, unhealthy_nodes, write_outcome


def test_a_node_with_room_and_without_wanted_gpus_has_no_fault(tmp_path):
    assert fault_of_node(tmp_path, num_gpus=0) == ""


def test_a_gpu_that_is_not_visible_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert fault_of_node(tmp_path, num_gpus=4) == "3 of 4 GPUs are visible"


def test_a_pytorch_without_cuda_is_no_fault_of_the_node_and_ends_the_job(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    with pytest.raises(LaunchError, match="is built without CUDA, and --gpus-per-node is 4. Install a build"):
        fault_of_node(tmp_path, num_gpus=4)


def test_a_gpu_that_does_not_compute_is_a_fault(tmp_path, monkeypatch):
    def ones(*size, device):
        raise RuntimeError(f"{device}: uncorrectable ECC error encountered\nmore")

    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch, "ones", ones)
    fault = fault_of_node(tmp_path, num_gpus=1)
    assert fault == "GPU 0 does not compute (cuda:0: uncorrectable ECC error encountered)"


def test_a_run_folder_that_the_node_does_not_see_is_a_fault(tmp_path):
    assert "cannot be seen (No such file or directory)" in fault_of_node(tmp_path / "no", num_gpus=0)


def test_a_full_run_folder_is_no_fault_of_the_node_and_ends_the_job(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**40, 2**40, 2**20))
    with pytest.raises(LaunchError, match=r"has 0\.00 GiB free: make room for 1 GiB"):
        fault_of_node(tmp_path, num_gpus=0)


def test_a_network_interface_without_an_address_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo,nosuch0")
    fault = fault_of_node(tmp_path, num_gpus=0)
    assert fault == "the network interface nosuch0 of GLOO_SOCKET_IFNAME has no address"


def answer():
    check_ring(20.0)


def stay_silent_on_rank_1():
    if dist.get_rank() == 1:
        dist.new_group(backend="gloo")
        return
    with pytest.raises(RuntimeError):
        check_ring(0.2)


@pytest.mark.parametrize("work", [answer, stay_silent_on_rank_1])
def test_a_rank_that_does_not_answer_fails_the_ring(tmp_path, work):
    spawn(2, tmp_path, work)


def test_nodes_to_blame_come_from_the_outcomes(tmp_path):
    write_outcome(tmp_path, 0, UNHEALTHY, error="rank [2, 4] did not answer", node="n2,n3")
    write_outcome(tmp_path, 1, FINISHED)
    assert unhealthy_nodes(tmp_path) == ["n2", "n3"]
