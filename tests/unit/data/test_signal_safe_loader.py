"""Loader workers survive signals that stop a run, and end at once when their parent asks."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch.utils.data import Dataset

from tsn_tsm_plugin.data.signal_safe_loader import SignalSafeDataLoader

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
needs_sender = pytest.mark.skipif(
    not hasattr(signal, "sigwaitinfo"), reason="the system does not report the sender of a signal"
)


class ProcessIds(Dataset):
    """Each item is the id of the process that made it; the last takes as long as a stalled disk."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == len(self) - 1:
            time.sleep(60)
        return torch.tensor([index, os.getpid()])


def send_from_elsewhere(number, pid):
    """Send a signal as a scheduler does: from a process that is not the worker's parent."""
    sender = os.fork()
    if sender == 0:
        os.kill(pid, number)
        os._exit(0)
    os.waitpid(sender, 0)


def start(start_method):
    loader = SignalSafeDataLoader(ProcessIds(), num_workers=1, multiprocessing_context=start_method)
    batches = iter(loader)
    (worker,) = loader.workers
    return batches, worker


def check_workers_live(start_method):
    batches, worker = start(start_method)
    for number in SIGNALS:  # At once: a spawned worker is still importing.
        send_from_elsewhere(number, worker.pid)
    for expected in range(3):
        assert next(batches).tolist() == [[expected, worker.pid]]
        for number in SIGNALS:
            send_from_elsewhere(number, worker.pid)
    assert worker.is_alive()


def check_a_stalled_worker_ends(start_method):
    batches, worker = start(start_method)
    for _ in range(7):
        next(batches)
    worker.terminate()
    worker.join(30)
    assert worker.exitcode == 0


def run_alone(check, start_method):
    """Run a check in a new process: this one may have a fork server that is older than the loader."""
    ended = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import {check.__name__} as check; check({start_method!r})"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr


@needs_sender
@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_workers_live_through_every_signal_from_elsewhere(start_method):
    run_alone(check_workers_live, start_method)


@needs_sender
@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_a_worker_that_stalls_ends_when_its_parent_reports_it(start_method):
    run_alone(check_a_stalled_worker_ends, start_method)


def test_the_signals_of_the_loading_process_stay_as_they_are():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    loader = SignalSafeDataLoader(ProcessIds(), num_workers=1, multiprocessing_context="fork")
    batches = iter(loader)

    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    del batches
