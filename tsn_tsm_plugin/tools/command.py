"""ToolParser, run_command: parser, common arguments and exit codes of all tools."""

import argparse
import difflib
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tsn_tsm_plugin import __version__
from tsn_tsm_plugin.config import CfgNode, load_cfg
from tsn_tsm_plugin.errors import ConfigError, TsnTsmError
from tsn_tsm_plugin.safe_text import printed_lines, terminal_text
from tsn_tsm_plugin.tools.arguments import check_exists

# Metavar of an option by its type, here and in `arguments`.
_METAVARS = {"int": "N", "whole_number": "N", "float": "X", "duration": "SECONDS", "path_here": "FILE"}


class HelpFormatter(argparse.HelpFormatter):
    """Shows the default of an option, unless it is empty or described, and names its value by its type."""

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return _METAVARS.get(getattr(action.type, "__name__", ""), action.dest.upper())

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        is_shown = "default" not in text and action.default not in (None, "", [], 0, argparse.SUPPRESS)
        return f"{text} (default: %(default)s)" if is_shown else text


class _ToolHelpFormatter(HelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Also keeps the lines of the description."""


class ToolParser(argparse.ArgumentParser):
    """Parser of a tool; its name is the console script's, and a mistyped flag gets a hint.

    Args:
        name: Name of the tool, such as ``prepare_dataset``.
        description: Docstring of the tool.
    """

    def __init__(self, name: str, description: str | None) -> None:
        super().__init__(
            prog=f"tsn-tsm-{name.replace('_', '-')}",
            description=(description or "").replace("``", "`"),
            formatter_class=_ToolHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--version", action="version", version=f"tsn_tsm_plugin {__version__}")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse as argparse does; ``~`` at the beginning of a value is the home folder in every tool."""
        found, rest = super().parse_known_args(args, namespace)
        for name, value in vars(found).items():
            setattr(found, name, _expanded(value))
        return found, rest

    def error(self, message: str) -> NoReturn:
        """Exit with code 2; suggest the nearest flags, also of subcommands, for unknown flags."""
        near: list[str] = []
        if message.startswith("unrecognized arguments"):
            subparsers = [each for each in self._actions if isinstance(each, argparse._SubParsersAction)]
            parsers = [self, *(parser for each in subparsers for parser in each.choices.values())]
            known = [flag for parser in parsers for flag in parser._option_string_actions]
            words = [word.partition("=")[0] for word in message.split() if word.startswith("--")]
            near = [flag for word in words for flag in difflib.get_close_matches(word, known, n=1)]
        super().error(message + (f"; did you mean {', '.join(near)}?" if near else ""))


def _expanded(value: Any) -> Any:
    if isinstance(value, list):
        return [_expanded(each) for each in value]
    if isinstance(value, Path):
        return value.expanduser()
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~/") else value  # noqa: PTH111


def add_recipe_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add ``--cfg RECIPE`` and the overrides ``KEY VALUE ...`` and ``--set KEY VALUE``."""
    parser.add_argument(
        "--cfg", required=required, metavar="RECIPE", help="YAML file, or a name such as tsm/k400_r50_8f"
    )
    add_set_argument(parser)
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="overrides of the recipe, such as SOLVER.MAX_EPOCH 10"
    )


def add_set_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--set KEY VALUE``, which overrides the recipe in every tool."""
    parser.add_argument(
        "--set",
        nargs=2,
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="override of the recipe, such as TEST.NUM_SPATIAL_CROPS 1; may be repeated",
    )


def add_checkpoint_arguments(
    parser: argparse.ArgumentParser, meaning: str = "checkpoint or run folder", *, required: bool = False
) -> None:
    """Add ``--weights W``, ``--which last|best`` and ``--allow-mismatch NAME``."""
    parser.add_argument("--weights", required=required, default="", metavar="W", help=meaning)
    parser.add_argument(
        "--which",
        choices=("last", "best"),
        default="last",
        help="weights of a run folder: last, or best by validation",
    )
    parser.add_argument(
        "--allow-mismatch",
        action="append",
        default=[],
        metavar="NAME",
        help="difference between weights and recipe to allow, such as num_segments; may be repeated; "
        "TRAIN.CHECKPOINT_ALLOW_MISMATCH",
    )


def set_overrides(args: argparse.Namespace) -> list[str]:
    """Return the overrides of ``--set`` and ``--allow-mismatch`` as ``KEY, VALUE, ...``."""
    allowed = getattr(args, "allow_mismatch", [])
    overrides = ["TRAIN.CHECKPOINT_ALLOW_MISMATCH", str(allowed)] if allowed else []
    return overrides + [word for pair in args.set for word in pair]


def weights_override(args: argparse.Namespace, key: str) -> list[str]:
    """Return the override of a key by ``--weights`` and ``--which``; empty without ``--weights``.

    Raises:
        CheckpointError: If ``--which best`` is given and there are no such weights.
        ConfigError: If ``--which`` is given without ``--weights``.
    """
    if not args.weights:
        if args.which != "last":
            raise ConfigError(f"--which {args.which} needs --weights RUN_FOLDER.")
        return []
    if args.which == "last":
        return [key, args.weights]
    from tsn_tsm_plugin.engine.find_weights import list_weights

    return [key, str(list_weights(args.weights, which=args.which)[0])]


def read_recipe(args: argparse.Namespace, *overrides: str) -> CfgNode:
    """Return the config of the arguments.

    Args:
        args: Arguments with ``cfg``, ``set`` and ``opts``.
        overrides: ``KEY, VALUE, ...`` of other flags, which ``set`` and ``opts`` override.
    """
    return load_cfg(args.cfg, [*overrides, *set_overrides(args), *args.opts])


def give_up_stdout() -> None:
    """Redirect standard output to the null device after its reader, such as ``head``, has closed the pipe.

    Otherwise Python would flush its buffer at exit and report a second error.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run_command(work: Callable[[], int | None], *, inputs: Sequence[str] = ()) -> int:
    """Run the work of a command and return its exit code.

    Args:
        work: Returns the exit code, or ``None`` for 0.
        inputs: Files and folders that must exist, checked before PyTorch is imported; empty ones are skipped.

    Returns:
        The result of the work, by default 0; 2 after a user error, reported in one line on stderr; 128 plus
        the signal's number after Ctrl-C, or if the reader of the output, such as ``head``, has closed it.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # Paths may contain bytes that are not UTF-8.
    try:
        for path in filter(None, inputs):
            check_exists(path)
        code = work()
        sys.stdout.flush()
    except BrokenPipeError:
        give_up_stdout()
        return 128 + signal.SIGPIPE
    except TsnTsmError as error:
        print(f"error: {printed_lines(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {terminal_text(error.filename)}: {error.strerror}. Check the path.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT
    return code or 0
