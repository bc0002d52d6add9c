"""A real SLURM for the tests of this folder: four nodes on this machine, idle before each test.

Two more nodes are bare: they have many CPUs, much memory and no GPUs, and are down.
"""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.jobs import job_environment, write_job
from support.local_slurm import LocalSlurm, can_account, queued, until, why_unavailable
from support.slurm_config import SlurmShape
from support.slurm_jobs import SlurmJobs

from launch.cluster.partitions import partitions
from tsn_tsm_plugin import registry

_HOST = socket.gethostname().split(".")[0]
_BARE = (
    f"NodeName=bare[1-2] NodeHostname={_HOST} NodeAddr=127.0.0.1 Port=1 CPUs=64 RealMemory=4000 State=DOWN"
)
_FOREIGN = ("SLURM_", "SBATCH_", "SUBMITIT_")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def _cluster() -> Iterator[LocalSlurm]:
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.fail("these tests share one SLURM: run them in one process, pytest -n 0 -m slurm")
    why = why_unavailable()
    if why and os.environ.get("TSN_TSM_REQUIRE_SLURM") == "1":
        pytest.fail(why)
    if why:
        pytest.skip(why)
    partitions = [
        "PartitionName=debug Nodes=n[1-4] Default=YES MaxTime=INFINITE State=UP PriorityTier=1",
        "PartitionName=gentle Nodes=n[1-4] MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60",
        "PartitionName=mixed Nodes=n[1-2],bare[1-2] MaxTime=INFINITE State=UP PriorityTier=1",
        "PartitionName=short Nodes=n[1-2] MaxTime=10 State=UP PriorityTier=1",
        "PartitionName=urgent Nodes=n[1-4] MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=off",
    ]
    cluster = LocalSlurm(
        SlurmShape(
            accounting=can_account(),
            cpus=4,
            gpus=4,
            # SLURM's default: nobody waits for it.
            slurmd_timeout=300,
            partitions=partitions,
            extra=f"PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\n{_BARE}",
        )
    ).start()
    os.environ.pop("SLURM_CONF")
    yield cluster
    os.environ["SLURM_CONF"] = str(cluster.conf)
    left = cluster.stop()
    assert not left, f"processes left by jobs: {left}"


@pytest.fixture
def slurm(_cluster: LocalSlurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalSlurm]:
    """SLURM_CONF names the private cluster; no job outlives the test."""
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CONF", str(_cluster.conf))
    yield _cluster
    _cluster.cancel_everything()
    until(lambda: not queued(), 60, "an empty queue")
    for name in _cluster.shape.names:
        if not _cluster.is_up(name):
            _cluster.start_node(name)
    _cluster.wait_for_nodes("idle")


@pytest.fixture
def wrapped(slurm: LocalSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Wrappers":
    """Puts programs before SLURM's own on PATH, here and in jobs."""
    wrappers = Wrappers(tmp_path / "wrapped programs")
    monkeypatch.setenv("PATH", f"{wrappers.folder}:{os.environ['PATH']}")
    return wrappers


class Wrappers:
    """Shell scripts in place of SLURM's programs; ``$REAL`` is the program, ``$HERE`` their folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = os.environ["PATH"]
        folder.mkdir()

    def __call__(self, name: str, body: str) -> None:
        real = shutil.which(name, path=self._path)
        file = self.folder / name
        file.write_text(f"#!/bin/bash\nHERE='{self.folder}' REAL='{real}'\n{body}\n")
        file.chmod(0o755)


@pytest.fixture
def no_sacct(slurm: LocalSlurm, wrapped: Wrappers) -> LocalSlurm:
    """The cluster as a user without accounting sees it: sacct's real message and exit status."""
    wrapped("sacct", "echo 'Slurm accounting storage is disabled' >&2\nexit 1")
    return slurm


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve steps an epoch, three epochs, validated and saved after each."""
    path = write_job(tmp_path_factory.mktemp("recipe"), num_train=48)
    text = path.read_text().replace("BACKBONE: tiny", "BACKBONE: slow")
    path.write_text(text.replace("MAX_EPOCH: 2", "MAX_EPOCH: 3"))
    return path


@pytest.fixture
def jobs(
    slurm: LocalSlurm,
    recipe: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[SlurmJobs]:
    """Submits the recipe; run folders lie below a path with a space."""
    plugin = tmp_path_factory.mktemp("plugin")
    for name, value in job_environment(plugin).items():
        monkeypatch.setenv(name, value)
    # The command line runs in this process, and a summary builds the network.
    monkeypatch.syspath_prepend(plugin)
    registry.rescan()
    monkeypatch.setenv("TOY_STEP_SECONDS", "0.2")
    partitions.cache_clear()
    yield SlurmJobs(recipe, tmp_path / "runs of a test", capsys)
    registry.rescan()
