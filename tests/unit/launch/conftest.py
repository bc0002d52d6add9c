"""no_slurm: run a test as on a machine without SLURM."""

import pytest


@pytest.fixture
def no_slurm(monkeypatch):
    monkeypatch.setattr("launch.cluster.slurm_client.why_unavailable", lambda: "no sbatch on PATH")
    monkeypatch.setattr("launch.cluster.slurm_client.can_ask", lambda: False)
