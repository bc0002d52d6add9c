"""The benchmark of scaling: what it declines to measure, and how it divides a step."""

import sys
from argparse import Namespace

import pytest


@pytest.fixture
def bench(load):
    return load("bench_scaling")


@pytest.mark.parametrize(
    "num_ranks, threads, workers, num_gpus, num_cores, reason",
    [
        (2, 1, 0, 0, 2, ""),
        (4, 1, 0, 0, 2, "4 ranks of 1 busy threads want 4 cores, here are 2: their number would be false"),
        (2, 1, 1, 0, 2, "2 ranks of 2 busy threads want 4 cores, here are 2: their number would be false"),
        (4, 1, 3, 2, 64, "4 ranks want 4 GPUs, here are 2"),
        (2, 8, 3, 2, 8, ""),
        (2, 1, 7, 2, 8, "2 ranks of 8 busy threads want 16 cores, here are 8: their number would be false"),
    ],
)
def test_what_the_machine_has_no_room_for_is_declined(
    bench, num_ranks, threads, workers, num_gpus, num_cores, reason
):
    args = Namespace(threads=threads, workers=workers)
    assert bench.why_declined(num_ranks, args, num_gpus=num_gpus, num_cores=num_cores) == reason


def test_a_step_is_divided_into_data_compute_and_communication(bench):
    timings = {
        1: {bench.DEFAULT: bench.Timing(0.1, 0.02)},
        2: {bench.DEFAULT: bench.Timing(0.2, 0.03), bench.ALONE: bench.Timing(0.125, 0.025)},
    }

    assert bench.scaling_table(timings)[2:] == [
        "| 1 | 100 | 20 | 80 | 0 | 100 % | 100 % |",
        "| 2 | 200 | 25 | 100 | 75 | 50 % | 80 % |",
    ]


def test_a_declined_number_has_no_row_and_too_few_cores_for_one_rank_end_the_run(bench, monkeypatch):
    monkeypatch.setattr(bench, "run", lambda num_ranks, args: {bench.DEFAULT: bench.Timing(0.1, 0.0)})
    monkeypatch.setattr(bench, "cores", lambda: 2)
    monkeypatch.setattr(sys, "argv", ["bench_scaling.py"])
    options = {"ranks": [4], "backbone": "resnet18", "workers": 0, "bf16": False, "video": ""}
    args = Namespace(threads=1, batch=1, size=32, runs=1, simulated=[8], per_node=8, **options)

    note = bench.report(args)

    assert "Declined: 4 ranks" in note
    assert "| 1 | 100 |" in note and "\n| 4 |" not in note
    with pytest.raises(SystemExit, match="not even one rank can be measured: 1 ranks of 3 busy threads"):
        bench.report(Namespace(**{**vars(args), "threads": 3}))
