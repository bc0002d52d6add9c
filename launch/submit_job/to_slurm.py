"""submit_slurm, announce, ...: submit a plan to SLURM; print only the job id on stdout."""

import contextlib
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import yaml

from tsn_tsm_plugin.atomic_files import write_text_atomically

from ..cluster.partitions import counted
from ..code_root import CODE_ROOT, COMMAND
from ..track.records import Submission
from .plan import Plan
from .sbatch_script import build_executor, submitting_environment
from .snapshot import take_snapshot
from .write_submission import job_of, write_submission

# Parents: launch/, the run folder and, in a sweep, the folder of its runs and the recipe's folder.
_NUM_EMPTY_PARENTS = 4


def submit_slurm(plan: Plan) -> Submission:
    """Submit a plan and return its record; a failed submission leaves no files.

    Args:
        plan: The plan, already checked.

    Raises:
        LaunchError: If SLURM refuses the job.
    """
    submission = write_submission(plan)
    folder = Path(submission.folder)
    with discarded_on_failure(folder):
        code = prepare_code(plan, folder)
        executor = build_executor(plan, folder=folder, code=code)
        with submitting_environment():
            job = executor.submit(job_of(plan, submission))
        return submission.with_job(job.job_id)


def prepare_code(plan: Plan, folder: Path) -> Path:
    """Write the options beside the record and return the root of the code that the ranks will run."""
    write_text_atomically(folder / "cluster.yaml", yaml.safe_dump(asdict(plan.options), sort_keys=False))
    return take_snapshot(CODE_ROOT, folder) if plan.options.snapshot == "git" else CODE_ROOT


@contextlib.contextmanager
def discarded_on_failure(folder: Path) -> Iterator[None]:
    """Remove a submission's folder and parents that are then empty if nothing was submitted."""
    try:
        yield
    except BaseException:
        _discard(folder)
        raise


def _discard(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        for parent in folder.parents[:_NUM_EMPTY_PARENTS]:
            parent.rmdir()


def announce(submission: Submission) -> None:
    """Print the job id alone on stdout; on stderr print paths and the commands to use next."""
    print(submission.job_id, flush=True)
    job_id, run_dir, me = submission.job_id, shlex.quote(submission.run_dir), COMMAND
    lines = [
        f"submitted {submission.kind} {submission.name} as job {job_id}: "
        f"{counted(submission.num_nodes, 'node')}, {counted(submission.num_ranks, 'process')}",
        f"  run folder  {submission.run_dir}",
        f"  log         {submission.log_file()}",
        f"  follow      {me} tail {run_dir}",
        f"  see         {me} status {run_dir}    or    squeue -j {job_id}",
        f"  cancel      {me} cancel {run_dir}    or    scancel {job_id}",
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)
