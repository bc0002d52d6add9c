"""SlurmJobs, wait_for_state, ...: submit jobs through the launcher to a private SLURM and observe them."""

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from support.cli import Ended, submit
from support.local_slurm import until

from launch.track.records import Submission, submissions_of

# Limit of every wait in seconds; long, because the machine may be busy.
PATIENCE = 180.0


class SlurmJobs:
    """Submits jobs of one recipe, each with its own run folder below a path with a space."""

    def __init__(self, recipe: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.recipe = recipe
        self.folder = folder
        self._capsys = capsys

    def run(self, *words: Any) -> Ended:
        return submit(self._capsys, *words)

    def train(self, name: str, *words: Any) -> Submission:
        """Submit a training into the run folder ``name``; return its record."""
        run_dir = self.folder / name
        ended = self.run(
            "--cfg", self.recipe, "--cluster", "slurm", "--cpus-per-task", 1, "--gpus-per-node", 0, *words,
            f"OUTPUT_DIR={run_dir}",
        )  # fmt: skip
        assert ended.code == 0, ended.err
        assert re.fullmatch(r"\d+\n", ended.out), f"stdout must be the job id alone, got {ended.out!r}"
        return next(record for record in submissions_of(run_dir) if record.job_id == ended.out.strip())


def shown(job_id: str) -> dict[str, str]:
    text = subprocess.run(["scontrol", "show", "job", job_id, "-o"], capture_output=True, text=True).stdout
    return dict(re.findall(r"\b(JobState|Reason|ExitCode|Restarts|BatchHost)=(\S+)", text))


def wait_for_state(job: Submission, *states: str, seconds: float = PATIENCE) -> dict[str, str]:
    """Return SLURM's record of a job once the job is in one of the states."""
    deadline = time.monotonic() + seconds
    while (now := shown(job.job_id)).get("JobState") not in states:
        assert time.monotonic() < deadline, f"{now}\n{log_of(job)[-3000:]}"
        time.sleep(0.2)
    return now


def wait_for_end(job: Submission, seconds: float = PATIENCE) -> dict[str, str]:
    return wait_for_state(
        job, "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", seconds=seconds
    )


def wait_for_step(job: Submission, step: int) -> None:
    """Return once a training run has taken ``step`` steps."""
    until(
        lambda: max(losses(Path(job.run_dir)), default=0) >= step, PATIENCE, f"step {step} of {job.run_dir}"
    )


def losses(run_dir: Path) -> dict[int, float]:
    """Return the curve of a run: training loss by step."""
    file = run_dir / "metrics.jsonl"
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    records = [json.loads(line) for line in lines]
    return {record["step"]: record["train/loss"] for record in records if "train/loss" in record}


def log_of(job: Submission, rank: int = 0) -> str:
    file = job.log_file(rank)
    return file.read_text() if file.exists() else ""
