"""profile: ``submit.py profile``, trace some training steps of one process, locally or on SLURM."""

import argparse
from pathlib import Path

from tsn_tsm_plugin.tools.own_data_command import recipe_of_data

from ..submit_job.plan import load_recipe, make_plan
from .train import options_of, run


def profile(args: argparse.Namespace) -> int:
    """Trace a training into the folder ``profile`` of its run folder; return the exit code of the command."""
    args.cfg = recipe_of_data(args)
    root = Path(load_recipe(args.cfg, args.opts).OUTPUT_DIR)
    cfg = load_recipe(args.cfg, args.opts, output_dir=str(root / "profile"))
    return run(make_plan("profile", args.cfg, cfg, options_of(args)), args)
