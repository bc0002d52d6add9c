"""The tier of tests that need a GPU, on machines without one, and the other tiers on machines with one."""

import importlib.util
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest


def test_without_a_gpu_the_tier_is_collected_and_skipped_with_a_sentence(repository):
    options = ["-n", "0", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, "tests/gpu"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
    last = ended.stdout.strip().splitlines()[-1]

    assert ended.returncode == 0, ended.stdout
    assert "this machine has no GPU that PyTorch can use" in ended.stdout
    assert " skipped" in last and "passed" not in last and "failed" not in last and "error" not in last


@pytest.mark.parametrize(("marker", "seen"), [(None, ""), ("the marker", "0,1")])
def test_only_the_tier_of_gpus_sees_the_gpus_of_the_machine(repository, monkeypatch, marker, seen):
    spec = importlib.util.spec_from_file_location("root_conftest", repository / "tests" / "conftest.py")
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    items = [SimpleNamespace(get_closest_marker={"gpu": marker}.get)]

    conftest.pytest_collection_finish(SimpleNamespace(items=items))

    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen
