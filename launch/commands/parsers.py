"""run: parse the command line, run the command and print user errors."""

import argparse
import difflib
import importlib
import sys
from collections.abc import Sequence

from tsn_tsm_plugin.errors import TsnTsmError
from tsn_tsm_plugin.tools.arguments import path_here
from tsn_tsm_plugin.tools.command import ToolParser
from tsn_tsm_plugin.tools.own_data_command import add_data_arguments

from ..cluster.options import add_option_flags
from ..code_root import COMMAND
from ..errors import USER_ERROR, LaunchError

_PROGRAM = COMMAND.rpartition("/")[2]

_TRAIN_HELP = f"""\
Train a recipe and evaluate it, here or on SLURM.

  {COMMAND} --cfg projects/tsm/motion_r18_8f.yaml
  {COMMAND} --cfg projects/tsm/k400_r50_8f.yaml --nodes 4 SOLVER.BASE_LR 0.02
  {COMMAND} --cfg RECIPE --sweep SOLVER.BASE_LR 0.01 0.02 --sweep RNG_SEED 0 1 2

KEY VALUE and KEY=VALUE override the recipe and are checked before anything is submitted."""

_EXIT_CODES = """\
exit code: 0 done, 1 the job failed, 2 a mistake in the command, 3 cancelled, 4 left while the job goes on"""

_EVALUATE_HELP = f"""\
Evaluate many weights on many recipes as one array; run it again to submit only the missing results.
A result belongs to the content of weights, settings and list, not to their names.

  {COMMAND} evaluate --cfg A.yaml B.yaml --weights A.pt B.pt --array-parallelism 8
  {COMMAND} evaluate --table pairs.txt          one `RECIPE WEIGHTS` on each line"""


# Function and help of each command.
_COMMANDS = {
    "train": ("train.train", _TRAIN_HELP),
    "evaluate": ("evaluate.evaluate", _EVALUATE_HELP),
    "profile": ("train.profile", "Trace 20 steps of rank 0 by PyTorch's profiler, into RUN_FOLDER/profile."),
    "summarize": (
        "summarize.summarize",
        "Print one table of runs: scores beside published ones, size, cost.",
    ),
    "list": ("manage.list_all", "List everything that was submitted."),
    "status": ("manage.status", "Show the state of jobs, also of jobs that SLURM has forgotten."),
    "tail": ("manage.tail", "Show the log of a job until it has ended; the exit code is the job's."),
    "cancel": ("manage.cancel", "Cancel jobs; a training writes a checkpoint first."),
    "resubmit": ("manage.resubmit", "Submit jobs again into the same run folders; they go on from there."),
}


def run(argv: Sequence[str]) -> int:
    """Run a command line; return its exit code."""
    first = argv[0] if argv else ""
    name, words = (first, argv[1:]) if first in _COMMANDS else ("train", argv)
    try:
        near = difflib.get_close_matches(first, _COMMANDS, n=1)
        if near and first not in _COMMANDS and not first.startswith("-"):
            raise LaunchError(f"{first} is not a command; did you mean {near[0]}?")
        args = _parser_of(name).parse_intermixed_args(list(words))
        # Import the command late: help and mistakes need not wait for torch.
        module, _, function = _COMMANDS[name][0].partition(".")
        return int(getattr(importlib.import_module(f".{module}", __package__), function)(args))
    except TsnTsmError as error:
        print(f"{_PROGRAM}: {_on_one_line(str(error))}", file=sys.stderr)
        return USER_ERROR


def _on_one_line(message: str) -> str:
    """Join headline and fault if there is a single fault; keep the lines of a list of faults."""
    lines = message.splitlines()
    return " ".join(line.strip() for line in lines) if len(lines) == 2 else message


def _parser_of(name: str) -> argparse.ArgumentParser:
    parser = ToolParser("submit", _COMMANDS[name][1])
    parser.prog = _PROGRAM if name == "train" else f"{_PROGRAM} {name}"
    if name in ("train", "profile"):
        parser.usage = "%(prog)s --cfg RECIPE [options] [KEY VALUE | KEY=VALUE ...]"
        parser.add_argument("--cfg", metavar="RECIPE", help="YAML file, or a name such as tsm/k400_r50_8f")
        add_data_arguments(parser)
        _add_running(parser, can_be_array=name == "train")
    elif name == "evaluate":
        _add_evaluation(parser)
        _add_running(parser, can_be_array=True)
    else:
        _add_targets(parser, name)
    if name == "train":
        others = [
            f"  {_PROGRAM} {other:<11} {text.splitlines()[0].partition(';')[0].rstrip('.')}"
            for other, (_, text) in _COMMANDS.items()
            if other != name
        ]
        parser.epilog = "\n".join(["other commands (each with --help):", *others, "", _EXIT_CODES])
        parser.add_argument(
            "--then-evaluate",
            action="store_true",
            help="on SLURM: evaluate in a job of its own once training is done",
        )
        parser.add_argument(
            "--sweep", nargs="+", action="append", default=[], metavar=("KEY", "VALUE"),
            help="train once for every value; repeat it for every combination of several keys",
        )  # fmt: skip
    return parser


def _add_running(parser: argparse.ArgumentParser, *, can_be_array: bool) -> None:
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="overrides of the recipe")
    parser.add_argument("--wait", action="store_true", help="on SLURM: show the log until the job has ended")
    parser.add_argument("--dry-run", action="store_true", help="show config and script; start nothing")
    if can_be_array:
        parser.add_argument(
            "--array-parallelism", type=int, default=8, metavar="N", help="jobs of an array at a time"
        )
    add_option_flags(parser)


def _add_evaluation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cfg", nargs="+", metavar="RECIPE", help="recipes; one for all weights, or one for each"
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        metavar="FILE",
        help="checkpoints or run folders; none: the recipe's run folder",
    )
    parser.add_argument(
        "--which", choices=("last", "best"), default="last", help="checkpoint of a run folder"
    )
    parser.add_argument("--table", metavar="FILE", help="file of `RECIPE WEIGHTS` lines")
    parser.add_argument(
        "--out", type=path_here, default="runs/evaluate", metavar="DIR", help="folder of run folders"
    )


def _add_targets(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the arguments of a command about submitted jobs."""
    text = "job id, run folder or folder of run folders"
    if name == "summarize":
        parser.add_argument("targets", nargs="+", metavar="TARGET", help=text)
        for form, title in (("csv", "CSV"), ("markdown", "Markdown")):
            parser.add_argument(
                f"--{form}", type=path_here, metavar="FILE", help=f"write the table as {title}, too"
            )
    elif name != "list":
        parser.add_argument("target", metavar="TARGET", help=text)
    if name == "resubmit":
        parser.add_argument("--nodes", type=int, default=0, metavar="N", help="other number of nodes")
        parser.add_argument("--failed", action="store_true", help="only the jobs that have failed")
    parser.add_argument(
        "--runs", type=path_here, default="runs", metavar="DIR", help="folder in which job ids are looked up"
    )
