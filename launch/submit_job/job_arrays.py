"""run_all, submit_arrays, resubmit_all, ...: one SLURM array per job shape, or jobs one by one locally."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tsn_tsm_plugin.config import load_cfg
from tsn_tsm_plugin.errors import TsnTsmError

from ..cluster import slurm_client as slurm
from ..cluster.options import Options, after, without_earlier_jobs
from ..code_root import COMMAND
from ..errors import OK, LaunchError
from ..track.records import Submission, submissions_of
from ..track.status import states_of
from ..track.wait import say, wait_for_all
from .checks import check
from .evaluation_folder import evaluation_config
from .plan import Plan, with_resolved_size
from .sbatch_script import cpus_per_task
from .to_slurm import submit_array, submit_slurm
from .to_this_machine import run_local


def check_all(plans: Sequence[Plan], *, is_dry_run: bool = False) -> list[Plan]:
    """Check each plan; return those whose runs are not complete.

    Raises:
        LaunchError: With the faults of all plans, if a plan has one or two plans share a run folder.
    """
    faults: list[str] = []
    left: list[Plan] = []
    asked: set[tuple[int, ...]] = set()
    for plan in plans:
        shape = _shape_of(plan)
        try:
            if not check(plan, is_dry_run=is_dry_run, is_request_known=shape in asked):
                left.append(plan)
        except TsnTsmError as error:
            faults.append(f"{plan.name}: {error}")
        asked.add(shape)
    folders = [plan.run_dir for plan in plans]
    faults += [f"two jobs would write into {folder}." for folder in set(folders) if folders.count(folder) > 1]
    if faults:
        raise LaunchError("\n  ".join([f"{len(faults)} of {len(plans)} jobs cannot run:", *faults]))
    return left


def run_all(plans: Sequence[Plan], root: Path, *, parallelism: int, is_waited_for: bool) -> int:
    """Run plans on their backend; return the exit code of the command.

    Args:
        plans: Checked plans, all for the same backend.
        root: Folder of the array's logs.
        parallelism: Largest number of array tasks that run at the same time.
        is_waited_for: Whether to wait for SLURM jobs.
    """
    if not plans:
        return OK
    if plans[0].backend != "slurm":
        say(f"runs {len(plans)} jobs here, one after another ({plans[0].reason})")
        return max(run_local(plan) for plan in plans)
    submitted = submit_arrays(plans, root, parallelism=parallelism)
    return wait_for_all(submitted) if is_waited_for else OK


def submit_arrays(plans: Sequence[Plan], root: Path, *, parallelism: int) -> list[Submission]:
    """Submit plans to SLURM, one array for each shape; print each array's id on stdout."""
    shapes: dict[tuple[int, ...], list[Plan]] = {}
    for plan in plans:
        shapes.setdefault(_shape_of(plan), []).append(plan)
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


def _shape_of(plan: Plan) -> tuple[int, ...]:
    """Return the sizes that the tasks of one array must have in common."""
    return plan.options.nodes, plan.tasks_per_node, plan.gpus_per_node, cpus_per_task(plan)


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


def without_done(plans: Sequence[Plan]) -> list[Plan]:
    """Return the plans without results or a job that computes them; report the number of other plans."""
    wanted: list[Plan] = []
    for plan in plans:
        is_on_its_way = any(state.may_be_alive for state in states_of(submissions_of(plan.run_dir)))
        if not is_on_its_way and not (plan.run_dir / "results.json").exists():
            wanted.append(plan)
    if len(wanted) < len(plans):
        say(f"{len(plans) - len(wanted)} of {len(plans)} are done or on their way")
    return wanted
