"""evaluate: ``submit.py evaluate``, many weights on many recipes as one array, with one table of results."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tsn_tsm_plugin.checkpoints.zoo import is_fetched
from tsn_tsm_plugin.engine.find_weights import find_weights
from tsn_tsm_plugin.paths import read_text

from ..errors import OK, LaunchError
from ..submit_job.checks import check_all
from ..submit_job.evaluation_folder import evaluation_config
from ..submit_job.plan import Plan, load_recipe, make_plan
from ..track.records import submissions_of
from ..track.status import states_of
from ..track.wait import say
from .train import describe, options_of, run_all, say_notes


def evaluate(args: argparse.Namespace) -> int:
    """Evaluate every pair of recipe and weights that has no result yet; return the exit code."""
    plans = [_plan(args, recipe, weights) for recipe, weights in pairs_of(args)]
    if args.dry_run:
        say_notes(plans)
        check_all(plans, is_dry_run=True)
        print(describe(plans))
        return OK
    missing = _without_done(plans)
    say_notes(missing)
    check_all(missing)
    return run_all(missing, args.out.absolute(), parallelism=args.array_parallelism, is_waited_for=args.wait)


def pairs_of(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the (recipe, weights) pairs of a command line; empty weights are the run's newest checkpoint.

    Raises:
        LaunchError: If recipes and weights cannot be paired, or the table is malformed.
    """
    if args.table:
        return _read_table(args.table)
    recipes, weights = args.cfg or [], args.weights or [""]
    if not recipes:
        raise LaunchError("evaluate needs --cfg RECIPE ..., or --table FILE with `RECIPE WEIGHTS` lines.")
    if len(recipes) == 1:
        recipes = recipes * len(weights)
    elif len(weights) == 1:
        weights = weights * len(recipes)
    if len(recipes) != len(weights):
        raise LaunchError(
            f"--weights must be one, or as many as --cfg, got {len(weights)} for {len(recipes)} recipes."
        )
    for path in weights:
        if path and not is_fetched(path) and not Path(path).exists():
            raise LaunchError(f"--weights {path}: no such file.")
    return list(zip(recipes, weights, strict=True))


def _read_table(path: str) -> list[tuple[str, str]]:
    try:
        lines = read_text(path).splitlines()
    except OSError as error:
        raise LaunchError(f"--table {path}: cannot be read ({error.strerror or error}).") from error
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(lines, start=1):
        words = line.split("#")[0].split()
        if len(words) == 2:
            pairs.append((words[0], words[1]))
        elif words:
            raise LaunchError(f"{path}:{number}: must be `RECIPE WEIGHTS`, got {line!r}.")
    return pairs


def _plan(args: argparse.Namespace, recipe: str, weights: str) -> Plan:
    cfg = load_recipe(recipe, args.opts)
    if not is_fetched(weights):
        weights = str(Path(find_weights(weights or cfg.OUTPUT_DIR, which=args.which)).absolute())
    cfg = evaluation_config(cfg, weights, args.out / f"{cfg.MODEL.ARCH}_{Path(recipe).stem}")
    return make_plan("evaluate", recipe, cfg, options_of(args))


def _without_done(plans: Sequence[Plan]) -> list[Plan]:
    """Return the plans without results or a job that computes them; report the number of other plans."""
    wanted: list[Plan] = []
    for plan in plans:
        is_on_its_way = any(state.may_be_alive for _, state in states_of(submissions_of(plan.run_dir)))
        if not is_on_its_way and not (plan.run_dir / "results.json").exists():
            wanted.append(plan)
    if len(wanted) < len(plans):
        say(f"{len(plans) - len(wanted)} of {len(plans)} are done or on their way")
    return wanted
