"""convert_command: the recipe of a training command of mit-han-lab's temporal-shift-module or tsn-pytorch."""

import argparse
import math
import shlex
from typing import Any, NoReturn

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.migrate.recipe import Recipe

# Number of classes of each dataset.
_CLASSES = {"something": 174, "somethingv2": 174, "jester": 27, "kinetics": 400, "ucf101": 101, "hmdb51": 51}
_V1, _V2 = "something/v1/20bn-something-something-v1", "something/v2/20bn-something-something-v2"
# Paths below the project's ROOT_DATASET: the two lists, the folder of the frames, the name of a frame.
_FILES = {
    ("something", "RGB"): ("something/v1/{}_videofolder.txt", _V1, "{:05}.jpg"),
    ("something", "Flow"): ("something/v1/{}_videofolder_flow.txt", f"{_V1}-flow", "flow_{}_{:05}.jpg"),
    ("somethingv2", "RGB"): ("something/v2/{}_videofolder.txt", f"{_V2}-frames", "{:06}.jpg"),
    ("jester", "RGB"): ("jester/{}_videofolder.txt", "jester/20bn-jester-v1", "{:05}.jpg"),
    ("kinetics", "RGB"): ("kinetics/labels/{}_videofolder.txt", "kinetics/images", "img_{:05}.jpg"),
    ("ucf101", "RGB"): ("UCF101/file_list/ucf101_rgb_{}_split_1.txt", "UCF101/jpg", "img_{:05}.jpg"),
    ("ucf101", "Flow"): ("UCF101/file_list/ucf101_flow_{}_split_1.txt", "UCF101/jpg", "flow_{}_{:05}.jpg"),
    ("hmdb51", "RGB"): ("HMDB51/splits/hmdb51_rgb_{}_split_1.txt", "HMDB51/images", "img_{:05}.jpg"),
    ("hmdb51", "Flow"): ("HMDB51/splits/hmdb51_flow_{}_split_1.txt", "HMDB51/images", "flow_{}_{:05}.jpg"),
}
_BACKBONES = {"mobilenetv2": "mobilenet_v2", "BNInception": "bn_inception"}
# Convolutions that read the input of a block of BN-Inception.
_BN_INCEPTION_SITES = ["inception_*_1x1", "inception_*_reduce"]
# Flags, type and default of main.py's options, and the key of those that mean the same here.
_OPTIONS: tuple[tuple[str, Any, Any, str | None], ...] = (
    ("--num_segments", int, 3, "DATA.NUM_FRAMES"),
    ("--dropout --do", float, 0.5, "MODEL.DROPOUT_RATE"),
    ("--lr --learning-rate", float, 0.001, "SOLVER.BASE_LR"),
    ("--momentum", float, 0.9, "SOLVER.MOMENTUM"),
    ("--weight-decay --wd", float, 5e-4, "SOLVER.WEIGHT_DECAY"),
    ("--clip-gradient --gd", float, 0.0, "SOLVER.CLIP_GRAD_L2NORM"),
    ("--epochs", int, None, "SOLVER.MAX_EPOCH"),
    ("--batch-size -b", int, None, "TRAIN.BATCH_SIZE"),
    ("--eval-freq -ef", int, 5, "TRAIN.EVAL_PERIOD"),
    ("--workers -j", int, 8, "DATA_LOADER.NUM_WORKERS"),
    ("--print-freq -p", int, 20, "LOG_PERIOD"),
    ("--arch", str, None, None),
    ("--consensus_type", str, "avg", None),
    ("--pretrain", str, "imagenet", None),
    ("--tune_from", str, "", None),
    ("--lr_type", str, "step", None),
    ("--resume", str, "", None),
    ("--start-epoch", int, 0, None),
    ("--suffix", str, None, None),
    ("--flow_prefix", str, "", None),
    ("--shift_div", int, 8, None),
    ("--shift_place", str, "blockres", None),
)
_SWITCHES = (
    "--no_partialbn --npb", "--evaluate -e", "--shift", "--temporal_pool", "--non_local", "--dense_sample",
)  # fmt: skip
# Options without effect on a recipe.
_UNUSED = ("--k", "--loss_type", "--img_feature_dim", "--snapshot_pref", "--root_log", "--root_model")
_MODALITIES = {"RGB": "rgb", "Flow": "flow", "RGBDiff": "rgb_diff"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"the command is not one of main.py: {message}. Give it as it was typed.")


def convert_command(command: str) -> Recipe:
    """Return the recipe of a training command.

    Example:
        >>> recipe = convert_command("python main.py something RGB --arch resnet50 --num_segments 8 --shift")
        >>> recipe.values["MODEL.ARCH"], recipe.values["MODEL.NUM_CLASSES"], recipe.values["DATA.NUM_FRAMES"]
        ('tsm', 174, 8)

    Args:
        command: The command, as typed in a shell; a backslash at the end of a line continues it.

    Raises:
        ConfigError: If ``command`` does not run ``main.py``.
    """
    args, unknown = _parse(command)
    # Options that mean a key are parsed under its name.
    recipe = Recipe({key: value for key, value in vars(args).items() if key.isupper()})
    _read_network(args, recipe)
    _read_data(args, recipe)
    _read_schedule(args, recipe)
    _read_start(args, recipe)
    if unknown:
        recipe.notes.append(f"not carried over: {' '.join(unknown)}")
    return recipe


def _parse(command: str) -> tuple[argparse.Namespace, list[str]]:
    try:
        words = shlex.split(command.replace("\\\n", " "), comments=True)
    except ValueError as error:
        raise ConfigError(
            f"the command cannot be split into words ({error}). Give it as it was typed."
        ) from error
    script = next((number for number, word in enumerate(words) if word.endswith("main.py")), None)
    if script is None:
        raise ConfigError(
            "the command must call main.py, as in: python main.py something RGB --arch resnet50."
        )
    words = words[script + 1 :]
    parser = _Parser(add_help=False, allow_abbrev=True)
    parser.add_argument("dataset")
    parser.add_argument("modality", choices=list(_MODALITIES))
    for flags, kind, default, key in _OPTIONS:
        parser.add_argument(*flags.split(), type=kind, default=default, dest=key)
    for flags in _SWITCHES:
        parser.add_argument(*flags.split(), action="store_true")
    for flag in _UNUSED:
        parser.add_argument(flag)
    parser.add_argument("--lr_steps", type=float, nargs="+")
    parser.add_argument("--gpus", type=int, nargs="+")
    # tsn-pytorch takes its lists after the modality.
    if len(words) > 3 and not words[2].startswith("-") and not words[3].startswith("-"):
        parser.add_argument("train_list")
        parser.add_argument("val_list")
        parser.set_defaults(arch="resnet101", lr_steps=[20, 40])
        parser.set_defaults(**{"SOLVER.MAX_EPOCH": 45, "TRAIN.BATCH_SIZE": 256})
    else:
        parser.set_defaults(train_list="", val_list="", arch="BNInception", lr_steps=[50, 100])
        parser.set_defaults(**{"SOLVER.MAX_EPOCH": 120, "TRAIN.BATCH_SIZE": 128})
    return parser.parse_known_args(words)


def _read_network(args: argparse.Namespace, recipe: Recipe) -> None:
    recipe.set("MODEL.ARCH", "tsm" if args.shift else "tsn")
    recipe.set("MODEL.BACKBONE", _BACKBONES.get(args.arch, args.arch))
    if args.pretrain == "imagenet" and args.arch != "BNInception":
        recipe.set("MODEL.BACKBONE_WEIGHTS", "IMAGENET1K_V1")
    elif args.pretrain == "imagenet":
        recipe.notes.append("fetch ImageNet weights of BN-Inception, set MODEL.BACKBONE_WEIGHTS to the file")
    recipe.set("MODEL.FC_INIT_STD", 0.001)
    recipe.set("MODEL.PARTIAL_BN", not args.no_partialbn)
    if args.shift:
        recipe.set("TSM.SHIFT_DIV", args.shift_div)
        if args.arch == "BNInception":
            recipe.set("TSM.SITES", _BN_INCEPTION_SITES)
            recipe.notes.append(
                f"changed: --shift_place {args.shift_place} with BNInception; there blockres fails and block "
                "shifts the input of stages, here TSM.SITES names the convolutions that read that input"
            )
        else:
            recipe.set("TSM.SHIFT_PLACE", args.shift_place)
        recipe.set("TSM.TEMPORAL_POOL", args.temporal_pool)
        recipe.set("NONLOCAL.INSTANTIATION", "embedded_gaussian" if args.non_local else None)
    elif args.temporal_pool or args.non_local:
        recipe.notes.append(
            "not carried over: --temporal_pool, --non_local; here they belong to TSM (--shift)"
        )
    if args.consensus_type != "avg":
        recipe.notes.append(f"not carried over: --consensus_type {args.consensus_type}; scores are averaged")


def _read_data(args: argparse.Namespace, recipe: Recipe) -> None:
    recipe.set("DATA.FORMAT", "frames")
    recipe.set("DATA.FRAME_START_INDEX", 1)
    recipe.set("DATA.SAMPLER", "dense" if args.dense_sample else "uniform")
    recipe.set("TEST.NUM_ENSEMBLE_VIEWS", 10 if args.dense_sample else 1)
    recipe.set("TEST.VIEW_AVERAGE", "logits")
    recipe.set("MODEL.NUM_CLASSES", _CLASSES.get(args.dataset))
    known = _FILES.get((args.dataset, args.modality)) or _FILES.get((args.dataset, "RGB"))
    if args.train_list:
        recipe.set("DATA.TRAIN_LIST", args.train_list)
        recipe.set("DATA.VAL_LIST", args.val_list)
        if args.modality == "Flow":
            recipe.set("DATA.FRAME_TEMPLATE", f"{args.flow_prefix}{{}}_{{:05}}.jpg")
    elif known is not None:
        lists, frames, template = known
        recipe.set("DATA.TRAIN_LIST", lists.format("train"))
        recipe.set("DATA.VAL_LIST", lists.format("val"))
        recipe.set("DATA.PATH_PREFIX", frames)
        recipe.set("DATA.FRAME_TEMPLATE", template)
        recipe.notes.append("set DATA.PATH_TO_DATA_DIR to ROOT_DATASET of ops/dataset_config.py")
    if args.dataset not in _CLASSES:
        recipe.notes.append(
            f"dataset {args.dataset!r} is unknown there: set MODEL.NUM_CLASSES, DATA.TRAIN_LIST"
        )
    _read_pixels(args, recipe)


def _read_pixels(args: argparse.Namespace, recipe: Recipe) -> None:
    if args.modality != "RGB":
        recipe.set("DATA.MODALITY", _MODALITIES[args.modality])
    # The crop is cut from the decoded size, from 13 positions.
    recipe.set("DATA.TRAIN_SHORT_SIDE", 0)
    mirrors = "something" not in args.dataset and "jester" not in args.dataset
    recipe.set("DATA.RANDOM_FLIP", mirrors)
    scales = [1.0, 0.875, 0.75] if mirrors and args.modality != "RGB" else [1.0, 0.875, 0.75, 0.66]
    recipe.set("AUG.CROP_SCALES", scales)
    is_caffe = args.arch == "BNInception"
    if args.modality == "RGB" and is_caffe:
        recipe.set("DATA.MEAN", [128.0, 117.0, 104.0])
        recipe.set("DATA.STD", [1.0, 1.0, 1.0])
    elif args.modality == "Flow":
        recipe.set("DATA.MEAN", [128.0, 128.0] if is_caffe else [127.5, 127.5])
        recipe.set("DATA.STD", [1.0, 1.0] if is_caffe else [57.63, 57.63])
    elif args.modality == "RGBDiff":
        # Differences of pixels in 0-1, or in 0-255 for Caffe's network, are not normalised.
        recipe.set("DATA.STD", [1.0, 1.0, 1.0] if is_caffe else [255.0, 255.0, 255.0])


def _read_schedule(args: argparse.Namespace, recipe: Recipe) -> None:
    recipe.set("SOLVER.OPTIMIZING_METHOD", "sgd")
    recipe.set("SOLVER.PARAM_GROUPS", "tsm")
    recipe.set("TRAIN.DROP_LAST", not args.train_list)
    is_same = bool(args.tune_from) and args.dataset in args.tune_from
    recipe.set("SOLVER.CLASSIFIER_LR_MULT", 1.0 if is_same or args.train_list else 5.0)
    if args.lr_type == "cos":
        recipe.set("SOLVER.LR_POLICY", "cosine")
    elif args.lr_type == "step":
        if not all(map(math.isfinite, args.lr_steps)):
            raise ConfigError(
                f"--lr_steps must be numbers of epochs, got {args.lr_steps}. Give whole epochs."
            )
        steps = [int(step) for step in args.lr_steps]
        recipe.set("SOLVER.STEPS", [0, *steps])
        recipe.set("SOLVER.LRS", [round(0.1**power, 12) for power in range(len(steps) + 1)])
    else:
        recipe.notes.append(f"not carried over: --lr_type {args.lr_type}")


def _read_start(args: argparse.Namespace, recipe: Recipe) -> None:
    if args.tune_from:
        recipe.set("TRAIN.CHECKPOINT_FILE_PATH", args.tune_from)
        recipe.set("TRAIN.CHECKPOINT_IGNORE_HEAD", args.dataset not in args.tune_from)
    if args.resume:
        recipe.notes.append(f"not carried over: --resume {args.resume}; a run goes on from its own folder")
    if args.evaluate:
        recipe.notes.append("not carried over: --evaluate; run tsn-tsm-evaluate")
    if args.start_epoch:
        recipe.notes.append(f"not carried over: --start-epoch {args.start_epoch}")
    left = [f"--{name}" for name in ("gpus", "suffix") if getattr(args, name)]
    if left:
        recipe.notes.append(f"skipped, settings of the run's environment: {', '.join(left)}")
