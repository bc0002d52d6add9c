"""Processes of the benchmarks: what they return, and that the benchmark ends when one of them dies."""

import math
import os
import signal
import sys

import pytest


@pytest.fixture
def processes(load):
    return load("processes")


def test_a_process_of_its_own_returns_what_the_function_returns(processes):
    assert processes.in_fresh_process(math.hypot, 3.0, 4.0) == 5.0
    assert processes.in_fresh_process(os.getpid) != os.getpid()


@pytest.mark.parametrize(
    ("function", "arguments", "code"),
    [(math.sqrt, (-1.0,), 1), (os._exit, (3,), 3), (signal.raise_signal, (signal.SIGKILL,), -9)],
    ids=["raises", "exits", "is killed"],
)
def test_a_process_that_dies_ends_the_benchmark_with_a_sentence(processes, function, arguments, code):
    with pytest.raises(SystemExit, match=f"ended with exit code {code} before it gave its figures"):
        processes.in_fresh_process(function, *arguments)


def test_asking_a_process_that_has_ended_is_no_other_error(processes):
    with processes.partner(repr) as ended, pytest.raises(SystemExit, match="ended with exit code 0"):
        ended._process.join()
        ended.ask("anything")


def test_a_variant_of_training_that_dies_ends_the_benchmark(load, monkeypatch):
    bench = load("bench_training")
    monkeypatch.setattr(bench, "measure", os.abort)  # takes no arguments
    monkeypatch.setattr(sys, "argv", ["bench_training.py"])
    with pytest.raises(SystemExit, match="ended with exit code 1"):
        bench.main()
