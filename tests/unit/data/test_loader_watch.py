"""A loader that gives no batch is named with its likely reason, and waited for within a bound."""

import contextlib
import os
import signal
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from tsn_tsm_plugin.data import loader_watch
from tsn_tsm_plugin.data.loader_watch import watched_batches
from tsn_tsm_plugin.data.signal_safe_loader import SignalSafeDataLoader
from tsn_tsm_plugin.errors import LoaderError

Usage = namedtuple("Usage", "total used free")


class Videos(Dataset):
    """Two items; the reading of the second stands still, or kills its process."""

    def __init__(self, folder: Path, *, ends_by: int = 0) -> None:
        self.folder, self.ends_by = folder, ends_by

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index == 1:
            if self.ends_by:
                time.sleep(0.2)  # until the first item is on its way
                os.kill(os.getpid(), self.ends_by)
            with (self.folder / "slow.mp4").open():
                time.sleep(60)
        return torch.tensor(index)


def forked_loader(dataset: Dataset, **options) -> SignalSafeDataLoader:
    # Python 3.14 starts workers by a fork server, which cannot import the classes of a test.
    return SignalSafeDataLoader(dataset, num_workers=1, multiprocessing_context="fork", **options)


class Reset:
    """Cannot be received: the connection ends, and the sender dies a little later."""

    def __reduce__(self):
        return reset_by, (os.getpid(),)


def reset_by(sender: int) -> None:
    threading.Timer(0.3, os.kill, (sender, signal.SIGKILL)).start()
    raise ConnectionResetError


@pytest.fixture
def watch(tmp_path, monkeypatch):
    (tmp_path / "slow.mp4").touch()
    monkeypatch.setattr(loader_watch, "_POLL_SECONDS", 0.05)
    monkeypatch.setattr(loader_watch, "_NOTICE_SECONDS", 0.2)

    def start(**options):
        return watched_batches(forked_loader(Videos(tmp_path, **options)), max_wait_seconds=1.0)

    return start


def test_a_wait_is_logged_with_the_file_that_is_read_and_ends_at_the_bound(watch, tmp_path, caplog):
    batches = watch()
    assert next(batches).item() == 0
    with (
        caplog.at_level("WARNING", logger="tsn_tsm_plugin"),
        pytest.raises(LoaderError, match=r"No batch came for 1 s, .*MAX_WAIT_SECONDS \(1\).*slow\.mp4"),
    ):
        next(batches)

    assert "No batch for 0 s." in caplog.text
    assert f"Being read: {tmp_path / 'slow.mp4'}" in caplog.text


def test_small_shared_memory_is_named_first(watch, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(64 * 2**20, 60 * 2**20, 4 * 2**20))
    batches = watch()
    next(batches)
    with pytest.raises(LoaderError, match=r"/dev/shm, .* too small: 64 MiB, of which 4 are free.*--shm-size"):
        next(batches)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (
            signal.SIGKILL,
            r"was killed \(SIGKILL\), most likely because memory ran out.*NUM_WORKERS \(now 1\)",
        ),
        (signal.SIGBUS, r"bus error: /dev/shm"),
    ],
)
def test_a_worker_that_dies_is_named_with_the_likely_reason(watch, number, reason):
    batches = watch(ends_by=number)
    assert next(batches).item() == 0
    with pytest.raises(LoaderError, match=reason):
        next(batches)


@pytest.fixture
def handler_of_another_loader():
    """Let SIGCHLD raise for a dead worker, as PyTorch's DataLoader does for the rest of the process."""
    before = signal.signal(signal.SIGCHLD, lambda number, frame: torch._C._error_if_any_worker_fails())
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("fixture", [None, "handler_of_another_loader"])
def test_a_worker_whose_connection_ends_before_its_process_is_named_too(request, fixture):
    if fixture:
        request.getfixturevalue(fixture)

    class Items(Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return Reset()

    loader = forked_loader(Items(), batch_size=None)
    with pytest.raises(LoaderError, match=r"was killed \(SIGKILL\)"):
        next(watched_batches(loader, max_wait_seconds=10.0))


def test_a_loader_without_workers_is_watched_too(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(loader_watch, "_NOTICE_SECONDS", 0.02)

    class Slow(Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            with (tmp_path / "slow.mp4").open("w"):
                time.sleep(0.2)
            return index

    with (
        contextlib.ExitStack() as others,
        caplog.at_level("WARNING", logger="tsn_tsm_plugin"),
    ):
        for number in range(6):
            others.enter_context((tmp_path / f"log{number}").open("w"))
        list(watched_batches(DataLoader(Slow()), max_wait_seconds=1.0))
    assert "DATA_LOADER.NUM_WORKERS 0" in caplog.text
    assert f"Being read: {tmp_path / 'slow.mp4'};" in caplog.text


def test_an_error_of_the_dataset_passes_as_it_is():
    class Broken(Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            raise RuntimeError("no such frame")

    with pytest.raises(RuntimeError, match="no such frame"):
        next(watched_batches(forked_loader(Broken()), max_wait_seconds=1.0))
