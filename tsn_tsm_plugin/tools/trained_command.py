"""add_weights_arguments, load_from_arguments: arguments of all commands that use a trained network."""

import argparse
from typing import TYPE_CHECKING

from tsn_tsm_plugin.errors import ConfigError, first_line
from tsn_tsm_plugin.tools.command import add_checkpoint_arguments, add_set_argument, set_overrides

if TYPE_CHECKING:
    import torch

    from tsn_tsm_plugin.inference.trained_model import TrainedModel


def add_weights_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the arguments of a checkpoint, ``--cfg``, ``--labels``, ``--set`` and ``--device``."""
    add_checkpoint_arguments(parser, required=required)
    parser.add_argument(
        "--cfg", default="", metavar="FILE", help="recipe; not needed for checkpoints of this library"
    )
    parser.add_argument("--labels", default="", metavar="FILE", help="file with one class name per line")
    add_set_argument(parser)
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
        raise ConfigError(
            f"--device must be available, such as cpu, cuda or cuda:1, got {name}: {first_line(error)}"
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
