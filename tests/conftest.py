"""Fixtures of every test: real videos, GPUs, and random numbers that are the same in each run."""

import logging
import os
import random
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Threads of two processes would wait for each other; read when torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402

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


@pytest.fixture
def caplog(caplog, monkeypatch):
    """The records of the library too, whose log does not propagate."""
    monkeypatch.setattr(logging.getLogger("tsn_tsm_plugin"), "propagate", True)
    return caplog


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request, monkeypatch) -> torch.device:
    """The CPU, and in the tier `gpu` a GPU: where the engine computes as well while the test runs."""
    if request.param == "cpu":
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    elif not torch.cuda.is_available():
        pytest.skip("this machine has no GPU that PyTorch can use, which this test needs")
    return torch.device(request.param)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Hide GPUs from the other tiers, which test CPUs, and which fork, as CUDA forbids."""
    if not any(item.get_closest_marker("gpu") for item in session.items):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="module", autouse=True)
def _fixtures_are_seeded():
    """Seed the fixtures that the tests of a module share."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _test_is_seeded():
    """Seed each test: some random networks amplify rounding errors beyond any tolerance."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random.seed(0)
        yield


@pytest.fixture(autouse=True)
def _log_is_silent_again():
    """Close what a run has logged into: its folder goes with the test."""
    yield
    root = logging.getLogger("tsn_tsm_plugin")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.NOTSET)
    root.propagate = True


@pytest.fixture(scope="session", autouse=True)
def _few_threads():
    """Two cores and many small tensors: more threads only wait for each other."""
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(scope="session", autouse=True)
def _processes_can_fork():
    """Start autograd before torch.compile: after it, autograd starts threads and does not run in forks."""
    torch.ones((), requires_grad=True).backward()
