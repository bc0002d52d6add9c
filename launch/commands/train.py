"""train, run: ``submit.py --cfg RECIPE``, a training, a training with an evaluation, or a sweep."""

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from tsn_tsm_plugin.tools.own_data_command import recipe_of_data

from ..cluster.options import Options, after, cluster_options, resolve_options
from ..code_root import CODE_ROOT, COMMAND
from ..errors import OK, LaunchError
from ..submit_job.checks import check
from ..submit_job.inside_srun import run_rank
from ..submit_job.job_arrays import check_all, run_all
from ..submit_job.plan import Plan, load_recipe, make_plan
from ..submit_job.sbatch_script import build_executor
from ..submit_job.to_slurm import announce, submit_slurm
from ..submit_job.to_this_machine import run_debug, run_local
from ..track.status import state_of
from ..track.wait import say, wait_for
from .summarize import print_table
from .sweep import sweep_configs

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
    check(plan, is_dry_run=args.dry_run)
    if args.dry_run:
        print(describe(plan))
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


def _sweep(args: argparse.Namespace, options: Options) -> int:
    plans = [
        make_plan("train", args.cfg, cfg, options) for cfg in sweep_configs(args.cfg, args.opts, args.sweep)
    ]
    say_notes(plans)
    check_all(plans, is_dry_run=args.dry_run)
    if args.dry_run:
        print("\n\n".join(describe(plan) for plan in plans))
        return OK
    root = Path(load_recipe(args.cfg, args.opts).OUTPUT_DIR) / "sweep"
    say(f"compare with: {COMMAND} summarize {root}")
    code = run_all(plans, root, parallelism=args.array_parallelism, is_waited_for=args.wait)
    if args.wait or plans[0].backend != "slurm":
        print_table(root)
    return code


def say_notes(plans: Sequence[Plan]) -> None:
    """Print the notes of plans, each note once."""
    for note in dict.fromkeys(plan.note for plan in plans if plan.note):
        say(note)


def options_of(args: argparse.Namespace) -> Options:
    """Return the options of the flags and the cluster YAML."""
    names = {field.name for field in dataclasses.fields(Options)}
    return resolve_options({name: value for name, value in vars(args).items() if name in names})


def describe(plan: Plan) -> str:
    """Return what a plan would run, for ``--dry-run``."""
    batch = plan.cfg.TRAIN.BATCH_SIZE if plan.kind != "evaluate" else plan.cfg.TEST.BATCH_SIZE
    shape = f"{plan.num_ranks} = {plan.options.nodes} nodes x {plan.tasks_per_node} processes"
    script = _script(plan) if plan.backend == "slurm" else []
    return "\n".join(
        [
            f"# {plan.kind} {plan.recipe}",
            f"# backend       {plan.backend} ({plan.reason})",
            f"# run folder    {plan.run_dir}",
            f"# world size    {shape}",
            f"# global batch  {batch} clips, {batch / plan.num_ranks:g} for each process",
            f"# each process  tsn_tsm_plugin.engine.{plan.kind}(cfg), with this cfg:",
            plan.cfg.dump().rstrip(),
            *script,
        ]
    )


def _script(plan: Plan) -> list[str]:
    folder = plan.run_dir / "launch" / "TIME"
    code = folder / "code" if plan.options.snapshot == "git" else CODE_ROOT
    text = build_executor(plan, folder=folder, code=code).script()
    return ["", "# the script for sbatch; TIME stands for when it is submitted", text.rstrip()]
