import os
import time
from pathlib import Path

import pytest
from support import toy_ranks

from launch.code_root import CODE_ROOT
from launch.submit_job.local_executor import GroupExecutor
from launch.submit_job.sbatch_script import start_command


def submit(folder: Path, num_ranks: int, work, *args):
    executor = GroupExecutor(folder, python=start_command(CODE_ROOT))
    tests = Path(toy_ranks.__file__).resolve().parents[1]
    executor.update_parameters(tasks_per_node=num_ranks, environment={**os.environ, "PYTHONPATH": str(tests)})
    return executor.submit(work, *args)


def wait(job, seconds=60):
    deadline = time.monotonic() + seconds
    while not job.done():
        assert time.monotonic() < deadline, "the job did not end"
        time.sleep(0.05)


def log_of(job, rank):
    return (job.paths.folder / f"{job.job_id}_{rank}_log.out").read_text()


def test_every_rank_runs_and_knows_its_number(tmp_path):
    job = submit(tmp_path / "with a space", 2, toy_ranks.greet)
    wait(job)

    assert job.results() == ["done", "done"]
    assert "rank 0 of 2" in log_of(job, 0)
    assert "rank 1 of 2" in log_of(job, 1)


@pytest.mark.parametrize("how", ["raise", "kill"])
def test_when_one_rank_dies_all_end_together(tmp_path, how):
    job = submit(tmp_path, 3, toy_ranks.rank_one_dies_while_the_others_work, how)
    wait(job)

    assert job._process.returncode == 1
