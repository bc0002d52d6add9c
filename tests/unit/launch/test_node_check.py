import shutil
from collections import namedtuple

import pytest
import torch
import torch.distributed as dist
from support.ranks import spawn

from launch.rank import on_failure
from launch.rank.node_check import fault_of_node, silent_ranks
from launch.rank.outcome import FINISHED, UNHEALTHY, unhealthy_nodes, write_outcome


def test_a_node_with_room_and_without_wanted_gpus_has_no_fault(tmp_path):
    assert fault_of_node(tmp_path, num_gpus=0) == ""


def test_a_gpu_that_is_not_visible_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert fault_of_node(tmp_path, num_gpus=4) == "3 of 4 GPUs are visible"


def test_a_gpu_that_does_not_compute_is_a_fault(tmp_path, monkeypatch):
    def ones(*size, device):
        raise RuntimeError(f"{device}: uncorrectable ECC error encountered\nmore")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch, "ones", ones)
    fault = fault_of_node(tmp_path, num_gpus=1)
    assert fault == "GPU 0 does not compute (cuda:0: uncorrectable ECC error encountered)"


def test_a_full_disk_and_a_folder_that_the_node_does_not_see_are_faults(tmp_path, monkeypatch):
    assert "cannot be seen (No such file or directory)" in fault_of_node(tmp_path / "no", num_gpus=0)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**40, 2**40, 2**20))
    assert "has 0.00 GiB free" in fault_of_node(tmp_path, num_gpus=0)


def hear():
    assert silent_ranks(20.0) == []


def stay_silent_on_rank_1():
    if dist.get_rank() == 1:
        dist.new_group(backend="gloo")
        return
    assert silent_ranks(0.2) == [1]


@pytest.mark.parametrize("work", [hear, stay_silent_on_rank_1])
def test_rank_0_knows_who_did_not_answer(tmp_path, work):
    spawn(2, tmp_path, work)


def test_nodes_to_blame_are_those_of_the_outcomes(tmp_path):
    write_outcome(tmp_path, 0, UNHEALTHY, error="rank [2, 4] did not answer", node="n2,n3")
    write_outcome(tmp_path, 1, FINISHED)
    assert unhealthy_nodes(tmp_path) == ["n2", "n3"]


@pytest.fixture
def failed(tmp_path, monkeypatch):
    """Run the end of a batch script whose node n2 is unhealthy; return what SLURM was asked."""
    (tmp_path / "3").mkdir()
    write_outcome(tmp_path / "3", 1, UNHEALTHY, error="node n2 is not healthy: no room", node="n2")
    asked = tmp_path / "asked"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name, value in {"SLURM_JOB_ID": "3", "SLURM_JOB_NUM_NODES": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(on_failure, "_REQUEUE_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(on_failure.signal, "signal", lambda number, handler: None)

    def run(*, excluded="(null)", sbatch="true"):
        shown = f"JobId=3 JobState=RUNNING ExcNodeList={excluded} NodeList=n[1-2]"
        for name, script in {"scontrol": f'[ "$1" != show ] || echo "{shown}"', "sbatch": sbatch}.items():
            (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "{asked}"\n{script}\n')
            (tmp_path / name).chmod(0o755)
        on_failure.main(tmp_path, 0, 20, "/runs/my run", "1")
        return [line for line in asked.read_text().splitlines() if "show" not in line]

    return run


@pytest.mark.parametrize(("before", "after"), [("(null)", "n2"), ("n[7-8]", "n[7-8],n2")])
def test_a_job_is_requeued_without_the_node_and_those_excluded_before(
    failed, tmp_path, capsys, before, after
):
    assert failed(excluded=before) == [
        f"sbatch --test-only --exclude={after} {tmp_path}/3_submission.sh",
        "scontrol requeue 3",
        f"scontrol update JobId=3 ExcNodeList={after}",
    ]
    assert "launch: put back into the queue, without node n2\n" in capsys.readouterr().out


def test_a_job_with_too_few_healthy_nodes_ends_with_the_reason_and_the_remedy(failed, capsys):
    refusal = "allocation failure: Requested node configuration is not available"

    assert len(failed(sbatch=f"echo '{refusal}' >&2; exit 1")) == 1

    out = capsys.readouterr().out
    assert "put back" not in out
    assert (
        "launch: the job needs 2 nodes, and too few are left without n2 (Requested node configuration is "
        "not available). Wait until they are repaired, or add `--nodes N` for fewer nodes with the same "
        "global batch. By hand: `python launch/submit.py resubmit '/runs/my run'` goes on from the newest "
        "checkpoint\n"
    ) in out


def test_a_limit_on_the_jobs_of_an_account_does_not_keep_a_job_out_of_the_queue(failed):
    limit = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy"

    assert "scontrol requeue 3" in failed(sbatch=f"echo '{limit}' >&2; exit 1")
