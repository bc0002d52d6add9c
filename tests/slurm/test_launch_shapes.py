"""The same training on any number of nodes, how its ranks find each other, and which GPUs they see."""

import json
import re
from pathlib import Path

import pytest
from support.jobs import final_state, largest_difference
from support.slurm_jobs import log_of, losses, wait_for_end

_ONE_EPOCH = ("SOLVER.MAX_EPOCH=1", "TRAIN.EVAL_PERIOD=0")


@pytest.fixture(autouse=True)
def quick_steps(jobs, monkeypatch):
    monkeypatch.setenv("TOY_STEP_SECONDS", "0")


def completed(job) -> Path:
    ended = wait_for_end(job)
    assert (ended["JobState"], ended["ExitCode"]) == ("COMPLETED", "0:0"), log_of(job)
    return Path(job.run_dir)


def test_four_processes_train_the_same_weights_on_one_node_two_nodes_and_four_nodes(jobs):
    shapes = {"1x4": (1, 4), "2x2": (2, 2), "4x1": (4, 1)}
    submitted = [
        jobs.train(name, "--nodes", nodes, "--tasks-per-node", tasks, *_ONE_EPOCH)
        for name, (nodes, tasks) in shapes.items()
    ]

    on_one, *others = [completed(job) for job in submitted]

    for other in others:
        assert losses(other) == pytest.approx(losses(on_one), abs=1e-6)
        assert largest_difference(final_state(other), final_state(on_one)) < 1e-6
    assert all(
        json.loads((run / "environment.json").read_text())["world_size"] == 4 for run in (on_one, *others)
    )


def test_two_jobs_on_the_same_nodes_do_not_meet(jobs, monkeypatch):
    # Left over from a torchrun in this shell; nothing of it may reach a job.
    for name, value in {"RANK": "7", "WORLD_SIZE": "9", "MASTER_ADDR": "nowhere", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)

    one, other = (jobs.train(name, "--nodes", 2, *_ONE_EPOCH) for name in ("one", "other"))

    first, second = completed(one), completed(other)
    assert largest_difference(final_state(first), final_state(second)) == 0.0
    ports = [re.search(r"rendezvous at \S+:(\d+)", log_of(job))[1] for job in (one, other)]
    assert ports[0] != ports[1]


def test_an_address_that_resolves_nowhere_is_replaced_by_the_one_that_slurm_knows(jobs):
    job = jobs.train("run", "--nodes", 2, *_ONE_EPOCH)

    completed(job)

    assert "rendezvous at 127.0.0.1:" in log_of(job)
    assert "(address from NodeAddr of scontrol)" in log_of(job)


def test_each_process_gets_a_gpu_of_its_own(jobs):
    show = 'python -c "import os; print(os.environ)"'
    job = jobs.train(
        "run", "--nodes", 2, "--gpus-per-node", 2, "--health-check", 0, "--setup", f"srun --overlap {show}",
        *_ONE_EPOCH,
    )  # fmt: skip

    completed(job)

    assert job.num_ranks == 4
    seen = re.findall(r"'CUDA_VISIBLE_DEVICES': '([\d,]+)'", log_of(job))
    assert seen == ["0,1"] * 4
    indices = re.findall(r"'SLURM_LOCALID': '(\d)'", log_of(job))
    assert sorted(indices) == ["0", "0", "1", "1"]


def test_short_jobs_all_exit_clean(jobs):
    submitted = [jobs.train(f"run{number}", "--nodes", 2, *_ONE_EPOCH) for number in range(4)]

    for job in submitted:
        completed(job)
        assert "terminate called" not in log_of(job)
