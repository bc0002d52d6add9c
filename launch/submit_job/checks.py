"""check, check_all: find the faults of jobs before these are submitted, each in a sentence.

SLURM accepts some impossible requests and lets them wait forever; this module finds them.
"""

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tsn_tsm_plugin.errors import TsnTsmError

from ..cluster import slurm_client as slurm
from ..cluster.job_requests import refusal
from ..cluster.partitions import Partition, chosen_partition, partitions
from ..code_root import COMMAND
from ..errors import LaunchError
from ..track.records import submissions_of
from ..track.status import states_of
from .plan import Plan
from .sbatch_script import build_executor, cpus_per_task, limit_minutes, shape_of

# Folders that machines do not share.
_PRIVATE_ROOTS = ("/tmp", "/var/tmp", "/dev/shm", "/run")
_SNAPSHOTS = ("git", "none")


def check(plan: Plan, *, is_dry_run: bool = False, is_request_known: bool = False) -> bool:
    """Return whether the run of a plan is complete; raise one error with all faults of the plan.

    Args:
        plan: The plan to submit.
        is_dry_run: Whether the plan is only shown, which also works without SLURM.
        is_request_known: Whether SLURM has already checked the same request for another plan.

    Raises:
        LaunchError: If there is a fault.
    """
    faults = [*_faults_of_shape(plan), *_faults_of_run_folder(plan)]
    is_complete = False
    if plan.num_ranks > 0:
        try:
            is_complete = _check_recipe(plan, is_dry_run=is_dry_run)
        except TsnTsmError as error:
            faults.append(str(error))
    if plan.backend == "slurm" and not is_request_known:
        missing = slurm.why_unavailable()
        if not missing:
            faults += _faults_of_request(plan)
            faults = faults or list(_verdict_of_slurm(plan))
        elif not is_dry_run:
            faults.append(
                f"there is no SLURM cluster here: {missing}. Is this a login node? "
                "`--cluster local` runs on this machine."
            )
    if faults:
        several = [f"{len(faults)} faults in this job:"] if faults[1:] else []
        raise LaunchError("\n  ".join([*several, *faults]))
    return is_complete


def check_all(plans: Sequence[Plan], *, is_dry_run: bool = False) -> list[Plan]:
    """Check each plan; return those whose runs are not complete.

    Raises:
        LaunchError: With the faults of all plans, if a plan has one or two plans share a run folder.
    """
    faults: list[str] = []
    left: list[Plan] = []
    asked: set[tuple[int, ...]] = set()
    for plan in plans:
        shape = shape_of(plan)
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


def _faults_of_shape(plan: Plan) -> Iterator[str]:
    options = plan.options
    for name in ("nodes", "tasks_per_node", "signal_delay", "collective_timeout"):
        if getattr(options, name) < 1:
            yield f"--{name.replace('_', '-')} must be at least 1, got {getattr(options, name)}."
    if options.snapshot not in _SNAPSHOTS:
        yield f"--snapshot must be {' or '.join(_SNAPSHOTS)}, got {options.snapshot!r}."


def _faults_of_run_folder(plan: Plan) -> Iterator[str]:
    run_dir = plan.run_dir
    if "%" in str(run_dir) or not str(run_dir).isprintable():
        yield (
            "OUTPUT_DIR must not contain %, which SLURM replaces in names of logs, or control "
            f"characters, got {str(run_dir)!r}."
        )
    for submission, state in states_of(submissions_of(run_dir)):
        if state.may_be_alive:
            yield (
                f"OUTPUT_DIR {run_dir} is in use by job {submission.job_id} ({state.in_words()}). "
                f"Wait for it, `{COMMAND} cancel {submission.job_id}`, or set another OUTPUT_DIR."
            )


def _check_recipe(plan: Plan, *, is_dry_run: bool) -> bool:
    """Check everything that the run will need; return whether the run is complete.

    Weights are fetched, because compute nodes seldom reach the network. A dry run fetches nothing, and may
    have no access to the data.
    """
    # Imported here: commands that submit nothing need not wait for torch.
    from tsn_tsm_plugin.engine.preflight import check_before_run
    from tsn_tsm_plugin.engine.resume import check_resume

    task = "evaluate" if plan.kind == "evaluate" else "train"
    check_before_run(
        plan.cfg,
        task,
        world_size=plan.num_ranks,
        # The GPUs of a job that srun starts are unknown here: the run checks them.
        has_gpus=plan.options.gpus_per_node > 0 or plan.backend == "srun",
        run_dir=plan.cfg.TEST.OUTPUT_DIR if task == "evaluate" else "",
        before="dry run" if is_dry_run else "job",
    )
    return plan.kind == "train" and check_resume(plan.cfg, plan.run_dir)


def _faults_of_request(plan: Plan) -> Iterator[str]:
    options = plan.options
    partition = chosen_partition(options.partition)
    if partition is None:
        known = ", ".join(partitions()) or "none"
        wanted = f"--partition must be one of {known}, got {options.partition!r}."
        yield (
            wanted
            if options.partition
            else f"This cluster has no default partition: --partition one of {known}."
        )
        return
    if options.container_image and "--container-image" not in slurm.ask("srun", "--help").stdout:
        yield (
            "--container-image needs pyxis, which srun does not have here. Use "
            f"--container-prefix 'apptainer exec --nv {options.container_image}'."
        )
    if options.container_image and options.container_prefix:
        yield "--container-image and --container-prefix are two ways into a container: give one of them."
    mounted = {"OUTPUT_DIR": str(plan.run_dir), "DATA.PATH_TO_DATA_DIR": plan.cfg.DATA.PATH_TO_DATA_DIR}
    for key, path in mounted.items():
        if options.container_image and "://" not in path and re.search("[,:]", path):
            yield f"{key} must have no comma and no colon with --container-image, got {path!r}."
    limit = limit_minutes(plan)
    if partition.limit_minutes and limit > partition.limit_minutes:
        yield (
            f"--time must be at most {partition.limit_minutes} minutes in partition {partition.name}, "
            f"got {options.time} ({limit} minutes)."
        )
    if limit * 60 <= options.signal_delay:
        yield f"--signal-delay must be shorter than --time ({limit * 60} s), got {options.signal_delay} s."
    yield from _faults_of_size(plan, partition)
    private = next((root for root in _PRIVATE_ROOTS if plan.run_dir.is_relative_to(root)), "")
    if private and not slurm.all_nodes_are_here():
        yield (
            f"OUTPUT_DIR {plan.run_dir} lies in {private}, which every node has for itself. "
            f"Set OUTPUT_DIR to a folder that all nodes see."
        )


def _faults_of_size(plan: Plan, partition: Partition) -> Iterator[str]:
    """Compare a request with the partition's nodes; sbatch decides which of them the user may use."""
    nodes, gpus, tasks = plan.options.nodes, plan.options.gpus_per_node, plan.options.tasks_per_node
    cpus = cpus_per_task(plan) * tasks
    name, has = partition.name, f"it has {partition.nodes_in_words()}."
    if nodes > partition.num_nodes:
        yield f"--nodes must be at most {partition.num_nodes} in partition {name}, got {nodes}."
    if gpus > partition.gpu_counts[0]:
        yield f"--gpus-per-node must be what the nodes of partition {name} have, got {gpus}; {has}"
    with_gpus = partition.fitting(gpus=gpus, cpus=0)
    most_cpus = max(kind.cpus for kind in with_gpus or partition.kinds)
    if cpus > most_cpus:
        kind = f"partition {name} with --gpus-per-node {gpus}" if gpus and with_gpus else f"partition {name}"
        yield (
            f"--cpus-per-task times --tasks-per-node must be at most {most_cpus} in {kind}, "
            f"got {cpus_per_task(plan)} x {tasks} = {cpus}."
        )
    num_fitting = partition.num_fitting(gpus=gpus, cpus=cpus)
    if 0 < num_fitting < nodes <= partition.num_nodes:
        yield (
            f"--nodes must be at most {num_fitting} in partition {name} with --gpus-per-node {gpus} and "
            f"{cpus} CPUs of each node, got {nodes}; {has}"
        )


def _verdict_of_slurm(plan: Plan) -> Iterator[str]:
    """Ask sbatch about accounts, qos, constraints, lists of nodes and memory."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.sh"
        executor = build_executor(plan, folder=Path(folder), code=Path(folder))
        script.write_text(executor.script(), encoding="utf-8")
        refused = refusal(script)
    if refused:
        yield f"SLURM refuses this request: {refused}"
