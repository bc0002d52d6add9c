"""Fixtures of every test: real videos where they are at hand, and random state that no test leaks."""

import os
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_videos() -> Path:
    """Folder of the real videos that stand beside the checkout; `TSN_TSM_REQUIRE_SHARED=1` forbids a skip."""
    folder = SHARED / "videos"
    if folder.is_dir():
        return folder
    message = f"the folder of real videos {folder} is not there"
    if os.environ.get("TSN_TSM_REQUIRE_SHARED") == "1":
        pytest.fail(message)
    return pytest.skip(message)


@pytest.fixture(autouse=True)
def _random_state_is_restored():
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture(scope="session", autouse=True)
def _few_threads():
    """Two cores and many small tensors: more threads only wait for each other."""
    torch.set_num_threads(min(2, torch.get_num_threads()))
