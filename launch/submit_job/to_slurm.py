"""submit_slurm, submit_arrays, resubmit_all, ...: submit plans to SLURM; print only job ids on stdout."""

import contextlib
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import yaml

from tsn_tsm_plugin.atomic_files import write_text_atomically
from tsn_tsm_plugin.config import load_cfg

from ..cluster import slurm_client as slurm
from ..cluster.options import Options, after, without_earlier_jobs
from ..cluster.partitions import counted
from ..code_root import CODE_ROOT, COMMAND
from ..track.records import Submission, new_submission_folder
from ..track.wait import say
from .checks import check_all
from .evaluation_folder import evaluation_config
from .plan import Plan, with_resolved_size
from .sbatch_script import build_executor, shape_of
from .write_submission import job_of, take_snapshot, write_submission

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


def submit_arrays(plans: Sequence[Plan], root: Path, *, parallelism: int) -> list[Submission]:
    """Submit plans to SLURM, one array for each shape; print each array's id on stdout."""
    shapes: dict[tuple[int, ...], list[Plan]] = {}
    for plan in plans:
        shapes.setdefault(shape_of(plan), []).append(plan)
    submitted: list[Submission] = []
    most = slurm.longest_array() if len(plans) > 1 else 1
    for alike in (group[i : i + most] for group in shapes.values() for i in range(0, len(group), most)):
        array = submit_array(alike, root, parallelism=parallelism)
        array_id = array[0].job_id.split("_")[0]
        print(array_id, flush=True)
        logs = array[0].jobs_dir or array[0].folder
        say(f"submitted {len(array)} jobs as {array_id}, at most {parallelism} at a time; logs in {logs}")
        submitted += array
    say(f"{COMMAND} status {root}    or    squeue -r -j {submitted[0].job_id.split('_')[0]}")
    return submitted


def resubmit_all(records: Sequence[Submission], *, num_nodes: int = 0) -> list[Submission]:
    """Submit jobs again with the same configs, options and run folders.

    If a training and its evaluation are both submitted again, the evaluation waits for the training.

    Args:
        records: The jobs.
        num_nodes: Nodes of each job; 0: as many as before.

    Raises:
        LaunchError: If a job cannot run on this number of nodes.
    """
    trained = {record.run_dir for record in records if record.kind == "train"}
    following = [record for record in records if record.kind == "evaluate" and record.run_dir in trained]
    plans = [plan_of(record, num_nodes) for record in records if record not in following]
    if num_nodes:
        check_all(plans)
    first = records[0]
    root = Path(first.jobs_dir).parents[1] if first.jobs_dir else plans[0].run_dir
    submitted = submit_arrays(plans, root, parallelism=len(plans))
    job_ids = {submission.run_dir: submission.job_id for submission in submitted}
    for record in following:
        plan, training_id = plan_of(record, num_nodes), job_ids[record.run_dir]
        evaluation = submit_slurm(replace(plan, options=after(plan.options, training_id)))
        print(evaluation.job_id, flush=True)
        say(f"job {evaluation.job_id} evaluates after job {training_id}; if that fails, it is cancelled")
        submitted.append(evaluation)
    return submitted


def plan_of(record: Submission, num_nodes: int = 0) -> Plan:
    """Return the plan of a submission, with ``num_nodes`` nodes unless that is 0."""
    asked = without_earlier_jobs(Options(**record.options))
    asked = replace(asked, nodes=num_nodes or asked.nodes)
    options = with_resolved_size(replace(asked, name=record.name), "slurm")
    recipe = Path(record.folder) / "recipe.yaml"
    cfg = load_cfg(record.config_file)
    weights = cfg.TEST.CHECKPOINT_FILE_PATH
    if record.kind == "evaluate" and cfg.TEST.OUTPUT_DIR == cfg.OUTPUT_DIR and weights:
        # The weights may have been replaced since the submission.
        cfg = evaluation_config(cfg, weights, Path(record.run_dir).parent)
    return Plan(record.kind, str(recipe), cfg, options, "slurm", "as before")


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
