"""add_weights_arguments, load_from_arguments: arguments of all commands that use a trained network."""

import argparse
from typing import TYPE_CHECKING

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.tools.command import (
    add_allow_mismatch_argument,
    add_set_argument,
    add_which_argument,
    set_overrides,
)

if TYPE_CHECKING:
    import torch

    from tsn_tsm_plugin.inference.trained_model import TrainedModel


def add_weights_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add ``--weights``, ``--which``, ``--cfg``, ``--labels``, ``--set`` and ``--device``."""
    parser.add_argument(
        "--weights", required=required, default="", metavar="W", help="checkpoint or run folder"
    )
    add_which_argument(parser)
    parser.add_argument(
        "--cfg", default="", metavar="FILE", help="recipe; not needed for checkpoints of this library"
    )
    parser.add_argument("--labels", default="", metavar="FILE", help="file with one class name per line")
    add_set_argument(parser)
    add_allow_mismatch_argument(parser)
    parser.add_argument(
        "--device", default="", metavar="NAME", help="cpu, cuda, cuda:1 (default: a GPU if any)"
    )


def _device(name: str) -> "torch.device | None":
    import torch

    if not name:
        return None
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).tolist()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"--device must be available, such as cpu, cuda or cuda:1, got {name}: {reason}"
        ) from error
    return device


def load_from_arguments(args: argparse.Namespace) -> "TrainedModel":
    """Return the network of the arguments."""
    from tsn_tsm_plugin.inference.trained_model import load_trained

    return load_trained(
        args.weights,
        recipe=args.cfg,
        labels=args.labels,
        opts=set_overrides(args),
        device=_device(args.device),
        which=args.which,
    )
