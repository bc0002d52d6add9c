"""train, profile, run: ``submit.py --cfg RECIPE``, a training with or without evaluation, or a sweep."""

import argparse
import dataclasses
import itertools
import time
from collections.abc import Sequence
from pathlib import Path

from tsn_tsm_plugin.config.defaults import flatten
from tsn_tsm_plugin.config.yaml_text import parse
from tsn_tsm_plugin.tools.own_data_command import recipe_of_data

from ..cluster.options import Options, after, cluster_options, resolve_options
from ..cluster.partitions import counted
from ..code_root import CODE_ROOT, COMMAND
from ..errors import OK, LaunchError
from ..submit_job.checks import check, check_all
from ..submit_job.plan import Plan, load_recipe, make_plan
from ..submit_job.sbatch_script import build_executor
from ..submit_job.to_slurm import announce, submit_arrays, submit_slurm
from ..submit_job.to_this_machine import run_debug, run_local, run_rank
from ..track.status import state_of
from ..track.wait import say, wait_for, wait_for_all
from .summarize import print_table

# SLURM checks dependencies periodically.
_CANCELLED_SECONDS = 60.0


def train(args: argparse.Namespace) -> int:
    """Train the recipe; return the exit code of the command."""
    options = options_of(args)
    args.cfg = recipe_of_data(args)
    if args.sweep:
        return _sweep(args, options)
    plan = make_plan("train", args.cfg, load_recipe(args.cfg, args.opts), options)
    if args.then_evaluate and plan.backend != "slurm":
        raise LaunchError("--then-evaluate is for SLURM; elsewhere a training ends with its evaluation.")
    return run(plan, args, is_evaluated=args.then_evaluate)


def profile(args: argparse.Namespace) -> int:
    """Trace a training into the folder ``profile`` of its run folder; return the exit code of the command."""
    args.cfg = recipe_of_data(args)
    root = load_recipe(args.cfg, args.opts).OUTPUT_DIR
    cfg = load_recipe(args.cfg, args.opts, output_dir=f"{root}/profile")
    return run(make_plan("profile", args.cfg, cfg, options_of(args)), args)


def run(plan: Plan, args: argparse.Namespace, *, is_evaluated: bool = False) -> int:
    """Check a plan and run it, or show it; return the exit code of the command.

    Args:
        plan: The job.
        args: The command line, with ``dry_run`` and ``wait``.
        is_evaluated: Whether a separate job evaluates the result.
    """
    if plan.backend == "srun":
        return run_rank(plan)
    say_notes([plan])
    is_complete = check(plan, is_dry_run=args.dry_run)
    if args.dry_run:
        print(describe([plan]))
        return OK
    if is_complete and not is_evaluated:
        say(f"nothing to do: the run in {plan.run_dir} is complete")
        return OK
    if plan.backend == "slurm":
        return _submit(plan, is_waited_for=args.wait, is_evaluated=is_evaluated)
    say(f"runs here ({plan.reason}); run folder {plan.run_dir}")
    ignored = cluster_options(plan.options)
    if ignored:
        say(f"only SLURM knows {', '.join(ignored)}: not used here")
    return run_debug(plan) if plan.backend == "debug" else run_local(plan)


def _submit(plan: Plan, *, is_waited_for: bool, is_evaluated: bool) -> int:
    training = submit_slurm(plan)
    announce(training)
    if not is_evaluated:
        return wait_for(training) if is_waited_for else OK
    options = after(plan.options, training.job_id)
    evaluation = submit_slurm(dataclasses.replace(plan, kind="evaluate", options=options))
    say(f"job {evaluation.job_id} evaluates after job {training.job_id}; if that fails, it is cancelled")
    if not is_waited_for:
        return OK
    code = wait_for(training)
    if code == OK:
        return wait_for(evaluation)
    deadline = time.monotonic() + _CANCELLED_SECONDS
    while (state := state_of(evaluation)).is_alive and time.monotonic() < deadline:
        time.sleep(1.0)
    say(f"job {evaluation.job_id}, the evaluation, is {state.state} because training failed")
    return code


def combinations(sweeps: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the overrides ``KEY=VALUE`` of every combination.

    Args:
        sweeps: For each key, the key and its values.

    Raises:
        LaunchError: If a key has no value, or is given twice.
    """
    for words in sweeps:
        if len(words) < 2:
            raise LaunchError(f"--sweep must be KEY VALUE [VALUE ...], got {' '.join(words)}.")
    keys = [words[0] for words in sweeps]
    if len(set(keys)) < len(keys):
        raise LaunchError(f"--sweep must name each key once, got {', '.join(keys)}.")
    values = [[f"{words[0]}={value}" for value in words[1:]] for words in sweeps]
    return [list(chosen) for chosen in itertools.product(*values)]


def _sweep(args: argparse.Namespace, options: Options) -> int:
    """Train every combination of values, each in a run folder below the recipe's run folder."""
    root = Path(load_recipe(args.cfg, args.opts).OUTPUT_DIR) / "sweep"
    plans = []
    for chosen in combinations(args.sweep):
        cfg = load_recipe(args.cfg, [*args.opts, *chosen], output_dir=f"{root}/{','.join(chosen)}")
        plans.append(make_plan("train", args.cfg, cfg, options))
    say_notes(plans)
    left = check_all(plans, is_dry_run=args.dry_run)
    if args.dry_run:
        print(describe(plans))
        return OK
    say(f"compare with: {COMMAND} summarize {root}")
    if len(left) < len(plans):
        say(f"{len(plans) - len(left)} of {len(plans)} runs are complete")
    code = run_all(left, root, parallelism=args.array_parallelism, is_waited_for=args.wait)
    if args.wait or plans[0].backend != "slurm":
        print_table(root)
    return code


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


def say_notes(plans: Sequence[Plan]) -> None:
    """Print the notes of plans, each note once."""
    for note in dict.fromkeys(plan.note for plan in plans if plan.note):
        say(note)


def options_of(args: argparse.Namespace) -> Options:
    """Return the options of the flags and the cluster YAML."""
    names = {field.name for field in dataclasses.fields(Options)}
    return resolve_options({name: value for name, value in vars(args).items() if name in names})


def describe(plans: Sequence[Plan]) -> str:
    """Return what plans would run, for ``--dry-run``."""
    first: dict[str, Plan] = {}
    return "\n\n".join(_describe(plan, first.setdefault(plan.recipe, plan)) for plan in plans)


def _describe(plan: Plan, first: Plan) -> str:
    batch = plan.cfg.TRAIN.BATCH_SIZE if plan.kind != "evaluate" else plan.cfg.TEST.BATCH_SIZE
    nodes, processes = counted(plan.options.nodes, "node"), counted(plan.options.tasks_per_node, "process")
    config = [plan.cfg.dump().rstrip()]
    if plan is not first:
        before, now = (flatten(parse(each.cfg.dump())) for each in (first, plan))
        config = ["# the cfg of the first job of this recipe, except:"]
        config += [f"{key}: {value}" for key, value in now.items() if value != before[key]]
    script = []
    if plan.backend == "slurm":
        folder = plan.run_dir / "launch" / "TIME"
        code = folder / "code" if plan.options.snapshot == "git" else CODE_ROOT
        text = build_executor(plan, folder=folder, code=code).script()
        script = ["", "# the script for sbatch; TIME stands for when it is submitted", text.rstrip()]
    return "\n".join(
        [
            f"# {plan.kind} {plan.recipe}",
            f"# backend       {plan.backend} ({plan.reason})",
            f"# run folder    {plan.run_dir}",
            f"# world size    {plan.num_ranks} = {nodes} x {processes}",
            f"# global batch  {batch} clips, {batch / plan.num_ranks:g} for each process",
            f"# each process  tsn_tsm_plugin.engine.{plan.kind}(cfg), with this cfg:",
            *config,
            *script,
        ]
    )
