"""The commands that run one job: ``submit.py --cfg RECIPE``."""

import argparse
import dataclasses
import sys

from launch.checks import check
from launch.errors import OK
from launch.local_run import run_debug, run_local
from launch.options import Options, resolve_options
from launch.plan import CHECKOUT, Plan, load_recipe, make_plan
from launch.script import build_executor
from launch.slurm_run import announce, submit_slurm
from launch.wait import wait_for


def train(args: argparse.Namespace) -> int:
    """Train the recipe; return the exit code of the command."""
    options = options_of(args)
    cfg = load_recipe(args.cfg, args.opts)
    plan = make_plan("train", args.cfg, cfg, options)
    check(plan, is_dry_run=args.dry_run)
    if args.dry_run:
        print(describe(plan))
        return OK
    if plan.where == "slurm":
        submission = submit_slurm(plan)
        announce(submission)
        return wait_for(submission) if args.wait else OK
    print(f"launch: runs here ({plan.why}); run folder {plan.run_dir}", file=sys.stderr, flush=True)
    return run_debug(plan) if plan.where == "debug" else run_local(plan)


def options_of(args: argparse.Namespace) -> Options:
    """Return the options that the flags and the cluster YAML ask for."""
    names = {field.name for field in dataclasses.fields(Options)}
    return resolve_options({name: value for name, value in vars(args).items() if name in names})


def describe(plan: Plan) -> str:
    """Return what a plan would run, for ``--dry-run``."""
    batch = plan.cfg.TRAIN.BATCH_SIZE
    shape = f"{plan.num_ranks} = {plan.options.nodes} nodes x {plan.tasks_per_node} processes"
    script = _script(plan) if plan.where == "slurm" else []
    return "\n".join(
        [
            f"# {plan.kind} {plan.recipe}",
            f"# where         {plan.where} ({plan.why})",
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
    code = folder / "code" if plan.options.snapshot == "git" else CHECKOUT
    text = build_executor(plan, folder=folder, code=code).script()
    return ["", "# the script for sbatch; TIME stands for when it is submitted", text.rstrip()]
