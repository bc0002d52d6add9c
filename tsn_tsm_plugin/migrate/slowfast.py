"""convert_slowfast: the recipe of a SlowFast config, for a TSN or TSM in place of its network."""

from typing import Any

from tsn_tsm_plugin.config.source import SettingsReader
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.migrate.recipe import Recipe

_Settings = dict[str, Any]

# SlowFast's defaults of the keys that matter here.
_DEFAULTS: _Settings = {
    "AUG.ENABLE": False,
    "BN.USE_PRECISE_STATS": False,
    "DATA.ENSEMBLE_METHOD": "sum",
    "DATA.MEAN": [0.45, 0.45, 0.45],
    "DATA.NUM_FRAMES": 8,
    "DATA.RANDOM_FLIP": True,
    "DATA.SAMPLING_RATE": 8,
    "DATA.STD": [0.225, 0.225, 0.225],
    "DATA.TEST_CROP_SIZE": 256,
    "DATA.TRAIN_CROP_SIZE": 224,
    "DATA.TRAIN_JITTER_SCALES": [256, 320],
    "MODEL.ARCH": "slowfast",
    "MODEL.DROPOUT_RATE": 0.5,
    "MODEL.FC_INIT_STD": 0.01,
    "RESNET.DEPTH": 50,
    "RNG_SEED": 1,
    "SOLVER.BASE_LR": 0.1,
    "SOLVER.COSINE_AFTER_WARMUP": False,
    "SOLVER.LR_POLICY": "cosine",
    "SOLVER.MAX_EPOCH": 300,
    "SOLVER.MOMENTUM": 0.9,
    "SOLVER.NESTEROV": True,
    "SOLVER.OPTIMIZING_METHOD": "sgd",
    "SOLVER.WARMUP_EPOCHS": 0.0,
    "SOLVER.WEIGHT_DECAY": 1e-4,
    "TEST.NUM_ENSEMBLE_VIEWS": 10,
    "TEST.NUM_SPATIAL_CROPS": 3,
    "TRAIN.BATCH_SIZE": 64,
    "TRAIN.CHECKPOINT_PERIOD": 10,
    "TRAIN.EVAL_PERIOD": 10,
}
# Keys that mean the same in SlowFast and here.
_SAME = (
    "BN.NUM_BATCHES_PRECISE", "BN.USE_PRECISE_STATS", "DATA.MULTI_LABEL", "DATA.NUM_FRAMES",
    "DATA.PATH_LABEL_SEPARATOR", "DATA.PATH_PREFIX", "DATA.PATH_TO_DATA_DIR", "DATA.RANDOM_FLIP",
    "DATA.TEST_CROP_SIZE", "DATA.TRAIN_CROP_SIZE", "DATA_LOADER.NUM_WORKERS", "DATA_LOADER.PIN_MEMORY",
    "LOG_PERIOD", "MIXUP.ALPHA", "MIXUP.CUTMIX_ALPHA", "MIXUP.ENABLE", "MIXUP.LABEL_SMOOTH_VALUE",
    "MIXUP.PROB", "MIXUP.SWITCH_PROB", "MODEL.ACT_CHECKPOINT", "MODEL.DROPOUT_RATE", "MODEL.FC_INIT_STD",
    "MODEL.NUM_CLASSES", "RNG_SEED", "SOLVER.BASE_LR", "SOLVER.BETAS", "SOLVER.CLIP_GRAD_L2NORM",
    "SOLVER.COSINE_AFTER_WARMUP", "SOLVER.LR_POLICY", "SOLVER.LRS", "SOLVER.MAX_EPOCH", "SOLVER.MOMENTUM",
    "SOLVER.NESTEROV", "SOLVER.OPTIMIZING_METHOD", "SOLVER.STEPS", "SOLVER.WARMUP_EPOCHS",
    "SOLVER.WEIGHT_DECAY", "TENSORBOARD.ENABLE", "TEST.BATCH_SIZE", "TEST.CHECKPOINT_FILE_PATH",
    "TEST.NUM_ENSEMBLE_VIEWS", "TEST.NUM_SPATIAL_CROPS", "TRAIN.AUTO_RESUME", "TRAIN.BATCH_SIZE",
    "TRAIN.CHECKPOINT_FILE_PATH", "TRAIN.CHECKPOINT_PERIOD", "TRAIN.EVAL_PERIOD",
)  # fmt: skip
# Keys without effect on a recipe: machines, folders, and settings that are fixed here.
_OF_THE_RUN = (
    "DATA.INPUT_CHANNEL_NUM", "DIST_BACKEND", "LOG_MODEL_INFO", "NUM_GPUS", "NUM_SHARDS", "OUTPUT_DIR",
    "SHARD_ID", "TEST.DATASET", "TEST.ENABLE", "TRAIN.DATASET", "TRAIN.ENABLE", "DATA.DECODING_BACKEND",
)  # fmt: skip
# Sections for SlowFast's 3D networks; they do not apply to a 2D network.
_OF_THEIR_NETWORK = ("RESNET", "SLOWFAST", "X3D", "MVIT", "NONLOCAL", "MULTIGRID", "DETECTION")


def convert_slowfast(path: str) -> Recipe:
    """Return a recipe that trains as a SlowFast config does.

    Args:
        path: The config, YAML, with its ``_BASE_``.

    Raises:
        ConfigError: If the config cannot be read or is not YAML.
    """
    reader = SettingsReader()
    reader.read(path)
    given = {setting.key: setting.value for setting in reader.settings}
    settings = _DEFAULTS | given
    recipe = Recipe(notes=[f"not read: {fault}" for fault in reader.faults])
    for key in _SAME:
        recipe.set(key, settings.pop(key, None))
    try:
        for read in (_read_network, _read_frames, _read_pixels, _read_augmentation, _read_solver):
            read(settings, recipe)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ConfigError(
            f"a value of the config has a type that SlowFast does not use ({error}). Correct the config."
        ) from error
    left = [key for key in settings if key in given]
    theirs = [key for key in left if key.startswith(_OF_THEIR_NETWORK)]
    if theirs:
        recipe.notes.append(f"not carried over, settings of SlowFast's networks: {', '.join(sorted(theirs))}")
    recipe.notes += [
        f"not carried over: {key} = {settings[key]!r}"
        for key in left
        if key not in theirs and key not in _OF_THE_RUN
    ]
    return recipe


def _read_network(settings: _Settings, recipe: Recipe) -> None:
    arch = settings.pop("MODEL.ARCH")
    settings.pop("MODEL.MODEL_NAME", None)
    recipe.set("MODEL.ARCH", "tsm")
    recipe.set("MODEL.BACKBONE", f"resnet{settings.pop('RESNET.DEPTH')}")
    recipe.notes.append(f"changed: network {arch!r}; here a TSM of the same depth is trained")
    loss = settings.pop("MODEL.LOSS_FUNC", "cross_entropy")
    if loss in ("bce", "bce_logit"):
        recipe.set("DATA.MULTI_LABEL", True)
    elif loss not in ("cross_entropy", "soft_cross_entropy"):
        recipe.notes.append(f"not carried over: MODEL.LOSS_FUNC = {loss!r}")
    norm = settings.pop("BN.NORM_TYPE", "batchnorm")
    if norm in ("batchnorm", "sync_batchnorm"):
        recipe.set("BN.NORM_TYPE", norm)
    else:
        recipe.notes.append(f"not carried over: BN.NORM_TYPE = {norm!r}")
    if settings.pop("TRAIN.MIXED_PRECISION", False):
        recipe.set("TRAIN.MIXED_PRECISION", "fp16")
    if settings.get("TRAIN.CHECKPOINT_TYPE") == "caffe2":
        recipe.notes.append("not carried over: weights of Caffe2; start from weights of a TSN or TSM")
        recipe.values.pop("TRAIN.CHECKPOINT_FILE_PATH", None)
        settings.pop("TRAIN.CHECKPOINT_TYPE")


def _read_frames(settings: _Settings, recipe: Recipe) -> None:
    for split in ("TRAIN", "VAL", "TEST"):
        recipe.set(f"DATA.{split}_LIST", f"{split.lower()}.csv")
    rate = settings.pop("DATA.SAMPLING_RATE")
    recipe.set("DATA.SAMPLER", "dense")
    recipe.set("DATA.DENSE_WINDOW", rate * recipe.values["DATA.NUM_FRAMES"])
    if settings.pop("DATA.ENSEMBLE_METHOD") != "sum":
        recipe.notes.append("not carried over: DATA.ENSEMBLE_METHOD; views are averaged here")
    recipe.set("TEST.VIEW_AVERAGE", "probabilities")
    if settings.pop("DATA.REVERSE_INPUT_CHANNEL", False):
        recipe.set("DATA.CHANNEL_ORDER", "bgr")


def _read_pixels(settings: _Settings, recipe: Recipe) -> None:
    for name in ("MEAN", "STD"):
        recipe.set(f"DATA.{name}", [round(value * 255, 6) for value in settings.pop(f"DATA.{name}")])
    lowest, highest = settings.pop("DATA.TRAIN_JITTER_SCALES")
    recipe.set("DATA.TRAIN_SHORT_SIDE", lowest)
    recipe.set("DATA.TEST_SHORT_SIDE", recipe.values["DATA.TEST_CROP_SIZE"])
    recipe.set("AUG.CROP", "multi_scale")
    recipe.set("AUG.CROP_SCALES", [1.0, 0.875])
    recipe.notes.append(
        f"changed: the short side is drawn from {lowest} to {highest} there, the crop from anywhere; here "
        "the crop has one of AUG.CROP_SCALES of the short side and one of 13 positions"
    )


def _read_augmentation(settings: _Settings, recipe: Recipe) -> None:
    is_on = settings.pop("AUG.ENABLE")
    for key in ("AUG.AA_TYPE", "AUG.RE_PROB", "AUG.RE_MODE", "AUG.RE_COUNT"):
        value = settings.pop(key, None)
        recipe.set(key, value if is_on else None)
    jitter = settings.pop("AUG.COLOR_JITTER", None)
    if is_on and isinstance(jitter, int | float):
        recipe.set("AUG.COLOR_JITTER", [float(jitter)] * 3 + [0.0])


def _read_solver(settings: _Settings, recipe: Recipe) -> None:
    recipe.set("SOLVER.PARAM_GROUPS", "tsn")
    recipe.set("SOLVER.LR_PER_STEP", True)
    recipe.values.setdefault("SOLVER.CLIP_GRAD_L2NORM", 0.0)
    base = recipe.values["SOLVER.BASE_LR"]
    for key, name, usual in (
        ("SOLVER.WARMUP_START_FACTOR", "SOLVER.WARMUP_START_LR", 0.01),
        ("SOLVER.COSINE_END_LR", "SOLVER.COSINE_END_LR", 0.0),
    ):
        recipe.set(key, round(settings.pop(name, usual) / base, 12))
    if "SOLVER.STEPS" in recipe.values and "SOLVER.LRS" in recipe.values:
        # Factors of steps that are never reached may remain.
        recipe.values["SOLVER.LRS"] = recipe.values["SOLVER.LRS"][: len(recipe.values["SOLVER.STEPS"])]
    method = recipe.values["SOLVER.OPTIMIZING_METHOD"]
    if method not in ("sgd", "adamw", "lars"):
        recipe.notes.append(f"not carried over: SOLVER.OPTIMIZING_METHOD = {method!r}; choose another")
        del recipe.values["SOLVER.OPTIMIZING_METHOD"]
