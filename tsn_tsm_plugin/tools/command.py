"""What the commands share: the arguments that name a recipe, and errors of users in one line."""

import argparse
import os
import signal
import sys
from collections.abc import Callable

from tsn_tsm_plugin.config import CfgNode, load_cfg
from tsn_tsm_plugin.errors import (
    AnnotationError,
    CheckpointError,
    ConfigError,
    DivergedError,
    PluginError,
    RunFolderError,
    UnknownComponentError,
    VideoError,
)

USER_ERRORS = (
    AnnotationError,
    CheckpointError,
    ConfigError,
    DivergedError,
    PluginError,
    RunFolderError,
    UnknownComponentError,
    VideoError,
)


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg FILE`` and the overrides ``KEY VALUE ...``."""
    parser.add_argument("--cfg", required=True, metavar="FILE", help="recipe, a YAML file")
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="overrides of the recipe, such as SOLVER.MAX_EPOCH 10"
    )


def read_recipe(args: argparse.Namespace, *overrides: str) -> CfgNode:
    """Return the config that the arguments name.

    Args:
        args: With ``cfg`` and ``opts``.
        overrides: ``KEY, VALUE, ...`` of other flags; ``opts`` win over them.
    """
    return load_cfg(args.cfg, [*overrides, *args.opts])


def give_up_stdout() -> None:
    """Write to nowhere from here on: whoever read the output has left, as ``head`` does.

    Python would else write what it still holds at its end, and complain once more.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run_command(work: Callable[[], object]) -> int:
    """Do the work of a command and return its exit code.

    Returns:
        0; 2 after an error that the user can mend, told in a line on stderr; 128 plus the number of the
        signal after Ctrl-C, or when whoever read the output has left, as `head` does.
    """
    try:
        work()
        sys.stdout.flush()
    except BrokenPipeError:
        give_up_stdout()
        return 128 + signal.SIGPIPE
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0
