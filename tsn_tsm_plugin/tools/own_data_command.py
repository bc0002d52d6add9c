"""add_data_arguments, recipe_of_data: flags that create a recipe for a folder of videos."""

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path

from tsn_tsm_plugin.errors import CheckpointError, ConfigError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.tools.arguments import path_here

logger = get_logger(__name__)

# Names of ImageNet weights in torchvision and in timm.
_DEFAULT_WEIGHTS = ("IMAGENET1K_V1", "default")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--data`` and its options."""
    group = parser.add_argument_group("your own videos, instead of --cfg")
    group.add_argument(
        "--data",
        type=path_here,
        metavar="FOLDER",
        help="folder with class folders, with train/, val/, test/ or with lists",
    )
    group.add_argument("--method", default="tsm", metavar="M", help="method: tsm or tsn")
    group.add_argument("--backbone", default="resnet50", metavar="NAME", help="network")
    group.add_argument(
        "--backbone-weights",
        metavar="W",
        help="ImageNet weights: a file, a registered name, '' for none (default: fetched if possible)",
    )
    group.add_argument("--val-fraction", type=float, default=0.2, help="validation part")
    group.add_argument(
        "--groups",
        default="",
        metavar="REGEX|FILE",
        help="keep videos of one group in one split: an expression on the path, or lines `video group`",
    )


def recipe_of_data(args: argparse.Namespace) -> str:
    """Return the recipe of the flags: ``--cfg``, or a new recipe for ``--data``.

    Raises:
        ConfigError: If both flags or neither flag is given.
        AnnotationError: If the folder holds no usable videos.
    """
    if bool(args.cfg) == bool(args.data):
        raise ConfigError(f"give either --cfg RECIPE or --data FOLDER{_nearest_flag(args.opts)}")
    if args.cfg:
        return str(args.cfg)
    from tsn_tsm_plugin.data.preparation.own_data import prepare_own_data

    # Initial weights replace the backbone's weights; the launcher has no such flag.
    has_weights = bool(getattr(args, "weights", ""))
    weights = "" if args.backbone_weights is None and has_weights else args.backbone_weights
    recipe = prepare_own_data(
        args.data,
        method=args.method,
        backbone=args.backbone,
        weights=functools.partial(_weights_at_hand, args.backbone) if weights is None else weights,
        val_fraction=args.val_fraction,
        groups=args.groups,
    )
    logger.info(f"The recipe runs again with --cfg {recipe}.")
    return str(recipe)


def _nearest_flag(words: Sequence[str]) -> str:
    """Return a hint if a recipe or a folder was given without its flag."""
    word = words[0] if words else ""
    if word.endswith(".yaml"):
        return f"; did you mean --cfg {word}?"
    return f"; did you mean --data {word}?" if word and Path(word).is_dir() else "."


def _weights_at_hand(backbone: str) -> str:
    """Return the name of available ImageNet weights of a backbone; empty, with a warning, without any."""
    from tsn_tsm_plugin.models.backbones.create import create_backbone

    reasons = []
    for weights in _DEFAULT_WEIGHTS:
        try:
            create_backbone(backbone, weights=weights)
        except CheckpointError as error:
            reasons.append(str(error))
        else:
            return weights
    unreachable = next((reason for reason in reasons if "could not be downloaded" in reason), reasons[0])
    logger.warning(
        f"No ImageNet weights for {backbone}: {unreachable} Training starts from random weights, which need "
        "many more videos."
    )
    return ""
