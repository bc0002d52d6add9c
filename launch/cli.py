"""The command line: parsers, and what each command's mistakes look like."""

import argparse
import sys
from collections.abc import Callable, Sequence

from launch.errors import USER_ERROR, LaunchError
from launch.options import add_option_flags

_TRAIN_HELP = """\
Train a recipe and evaluate it, here or on SLURM.

  python launch/submit.py --cfg projects/tsm/motion_r18_8f.yaml
  python launch/submit.py --cfg projects/tsm/k400_r50_8f.yaml --nodes 4 SOLVER.BASE_LR 0.02

KEY VALUE and KEY=VALUE override the recipe and are checked before anything is submitted."""

_EPILOG = "exit code: 0 done, 1 the job failed, 2 a mistake in the command, 3 cancelled"


def run(argv: Sequence[str]) -> int:
    """Run a command line; return its exit code."""
    from tsn_tsm_plugin.errors import ConfigError

    parser = build_parser()
    try:
        args = parser.parse_intermixed_args(argv)
        command: Callable[[argparse.Namespace], int] = args.command
        return command(args)
    except (LaunchError, ConfigError) as error:
        print(f"submit.py: {_on_one_line(str(error))}", file=sys.stderr)
        return USER_ERROR


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the default command, training."""
    parser = argparse.ArgumentParser(
        prog="submit.py",
        description=_TRAIN_HELP,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="%(prog)s --cfg RECIPE [options] [KEY VALUE | KEY=VALUE ...]",
    )
    parser.add_argument("--cfg", required=True, metavar="RECIPE", help="YAML file of the recipe")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="overrides of the recipe")
    parser.add_argument("--wait", action="store_true", help="on SLURM: show the log until the job has ended")
    parser.add_argument("--dry-run", action="store_true", help="show what would run; touch nothing")
    add_option_flags(parser)
    parser.set_defaults(command=_train)
    return parser


def _train(args: argparse.Namespace) -> int:
    from launch.train import train

    return train(args)


def _on_one_line(message: str) -> str:
    """Join headline and fault where there is a single fault; a list of faults keeps its lines."""
    lines = message.splitlines()
    return " ".join(line.strip() for line in lines) if len(lines) == 2 else message
