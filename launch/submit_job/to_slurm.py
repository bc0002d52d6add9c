"""submit_array, submit_slurm, announce: submit plans to SLURM; print only the job id on stdout."""

import contextlib
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import yaml

from tsn_tsm_plugin.atomic_files import write_text_atomically

from ..cluster.partitions import counted
from ..code_root import CODE_ROOT, COMMAND
from ..track.records import Submission, new_submission_folder
from .plan import Plan
from .sbatch_script import build_executor, submitting_environment
from .snapshot import take_snapshot
from .write_submission import job_of, write_submission

# Parents: launch/, the run folder and, in a sweep, the folder of its runs and the recipe's folder.
_NUM_EMPTY_PARENTS = 4


def submit_slurm(plan: Plan) -> Submission:
    """Submit one plan; see :func:`submit_array`."""
    return submit_array([plan], plan.run_dir)[0]


def submit_array(plans: Sequence[Plan], root: Path, *, parallelism: int = 1) -> list[Submission]:
    """Submit plans of one shape as an array, and a single plan as a plain job; return their records.

    A failed submission leaves no files.

    Args:
        plans: The plans, already checked.
        root: Folder of the array's logs; the array has its name.
        parallelism: Largest number of tasks of the array that run at the same time.

    Raises:
        LaunchError: If SLURM refuses the job.
    """
    common = plans[0]
    jobs_dir = None
    with contextlib.ExitStack() as undo:
        if len(plans) > 1:
            common = replace(common, options=replace(common.options, name=root.name))
            jobs_dir = new_submission_folder(root)
            undo.callback(_discard, jobs_dir)
        records = []
        for plan in plans:
            records.append(write_submission(plan, jobs_dir=jobs_dir))
            undo.callback(_discard, Path(records[-1].folder))
        folder = jobs_dir or Path(records[0].folder)
        options = yaml.safe_dump(asdict(plans[0].options), sort_keys=False)
        write_text_atomically(folder / "cluster.yaml", options)
        code = take_snapshot(CODE_ROOT, folder) if common.options.snapshot == "git" else CODE_ROOT
        executor = build_executor(common, folder=folder, code=code, array_parallelism=parallelism)
        works = [job_of(plan, Path(record.folder)) for plan, record in zip(plans, records, strict=True)]
        with submitting_environment():
            jobs = executor.submit_array(works)
        submitted = [record.with_job(job.job_id) for record, job in zip(records, jobs, strict=True)]
        undo.pop_all()
    return submitted


def _discard(folder: Path) -> None:
    """Remove a submission's folder and parents that are then empty."""
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
