"""Rules that a type alone cannot express: legal words, ranges, and keys that must agree."""

import re
from collections.abc import Iterator

from tsn_tsm_plugin.config.node import CfgNode
from tsn_tsm_plugin.registry import SAMPLERS

Fault = tuple[str, str]

_CHOICES: dict[str, tuple[object, ...]] = {
    "MODEL.ARCH": ("tsn", "tsm"),
    "TEST.PROTOCOL": ("", "efficient", "accurate"),
    "TSM.SHIFT_PLACE": ("blockres", "block"),
    "DATA.FORMAT": ("videos", "frames", "shards"),
    "DATA.PREPARE": ("", "motion"),
    "AUG.CROP": ("multi_scale", "random_resized", "center"),
    "AUG.NUM_FIXED_CROPS": (5, 13),
    "AUG.RE_MODE": ("pixel", "rand", "const"),
    "DATA_LOADER.START_METHOD": ("fork", "spawn", "forkserver"),
    "TEST.NUM_SPATIAL_CROPS": (1, 3, 10),
    "TEST.VIEW_AVERAGE": ("auto", "logits", "probabilities"),
    "BN.NORM_TYPE": ("batchnorm", "sync_batchnorm"),
    "TRAIN.MIXED_PRECISION": ("off", "bf16", "fp16"),
    "DDP.GRADIENT_COMPRESSION": ("off", "bf16"),
    "SOLVER.OPTIMIZING_METHOD": ("sgd", "adamw", "lars"),
    "SOLVER.PARAM_GROUPS": ("tsn", "tsm"),
    "SOLVER.LR_POLICY": ("steps_with_relative_lrs", "cosine"),
}
_AT_LEAST: dict[str, float] = {
    "LOG_PERIOD": 1,
    "MODEL.NUM_CLASSES": 1,
    "MODEL.FC_INIT_STD": 0,
    "BN.NUM_BATCHES_PRECISE": 1,
    "TSN.SAMPLE_RANGE": 1,
    "TSM.SHIFT_DIV": 2,
    "DATA.NUM_FRAMES": 1,
    "DATA.FRAME_START_INDEX": 0,
    "DATA.MAX_BAD_VIDEOS": 0,
    "DATA.TRAIN_SHORT_SIDE": 0,
    "DATA.TEST_SHORT_SIDE": 0,
    "DATA.TRAIN_CROP_SIZE": 1,
    "DATA.TEST_CROP_SIZE": 1,
    "AUG.RE_COUNT": 1,
    "MIXUP.ALPHA": 0,
    "MIXUP.CUTMIX_ALPHA": 0,
    "DATA_LOADER.NUM_WORKERS": 0,
    "TRAIN.BATCH_SIZE": 1,
    "TRAIN.NUM_REPEATS": 1,
    "TRAIN.EVAL_PERIOD": 0,
    "TRAIN.MAX_CLIPS_PER_FORWARD": 0,
    "TRAIN.MAX_BAD_STEPS": 0,
    "TRAIN.CHECKPOINT_PERIOD": 1,
    "TRAIN.CHECKPOINT_MINUTES": 0,
    "TRAIN.CHECKPOINT_STEPS": 0,
    "TRAIN.KEEP_CHECKPOINTS": 1,
    "TRAIN.STOP_GRACE_SECONDS": 0,
    "DDP.BUCKET_CAP_MB": 1,
    "TEST.BATCH_SIZE": 1,
    "TEST.MAX_FRAMES_PER_FORWARD": 0,
    "TEST.NUM_FRAMES": 0,
    "TEST.NUM_ENSEMBLE_VIEWS": 1,
    "SOLVER.BASE_LR": 0,
    "SOLVER.BASE_BATCH_SIZE": 1,
    "SOLVER.MOMENTUM": 0,
    "SOLVER.WEIGHT_DECAY": 0,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.WARMUP_EPOCHS": 0,
    "SOLVER.CLIP_GRAD_L2NORM": 0,
}
_PROBABILITIES = ("AUG.RE_PROB", "MIXUP.PROB", "MIXUP.SWITCH_PROB")
_SHARES = ("MODEL.DROPOUT_RATE", "EMA.DECAY", "SOLVER.LABEL_SMOOTHING", "MIXUP.LABEL_SMOOTH_VALUE")
_AA_TYPE = re.compile(
    r"|imgaug_default|rand(-(m(max)?\d+|n[1-9]\d*|(p|mstd)(\d+\.?\d*|inf)|inc[01]|t(weights|3aw?)))*"
)


def faults_of(cfg: CfgNode) -> list[Fault]:
    """Return every broken rule as ``(key, what the rule is and what was given)``."""
    rules = (_words, _ranges, _model, _storage, _sampling, _pixels, _augmentation, _ranks, _dump, _schedule)
    return [fault for rule in rules for fault in rule(cfg)]


def _value(cfg: CfgNode, key: str) -> object:
    node: object = cfg
    for name in key.split("."):
        node = node[name]  # type: ignore[index]
    return node


def _words(cfg: CfgNode) -> Iterator[Fault]:
    for key, choices in _CHOICES.items():
        value = _value(cfg, key)
        if value not in choices:
            yield key, f"must be one of {', '.join(map(repr, choices))}, got {value!r}"


def _ranges(cfg: CfgNode) -> Iterator[Fault]:
    for key, least in _AT_LEAST.items():
        value = _value(cfg, key)
        if not value >= least:  # type: ignore[operator]  # so that nan is refused too
            yield key, f"must be at least {least:g}, got {value!r}"
    for key in _PROBABILITIES:
        if not 0.0 <= _value(cfg, key) <= 1.0:  # type: ignore[operator]
            yield key, f"must be in [0, 1], got {_value(cfg, key)!r}"
    for key in _SHARES:
        if not 0.0 <= _value(cfg, key) < 1.0:  # type: ignore[operator]
            yield key, f"must be in [0, 1), got {_value(cfg, key)!r}"


def _model(cfg: CfgNode) -> Iterator[Fault]:
    has_non_local = cfg.MODEL.ARCH == "tsm" and cfg.NONLOCAL.INSTANTIATION
    if cfg.NONLOCAL.ACT_CHECKPOINT and not has_non_local:
        yield (
            "NONLOCAL.ACT_CHECKPOINT",
            "must be off for a network without non-local blocks; a tsm has them with NONLOCAL.INSTANTIATION",
        )


def _storage(cfg: CfgNode) -> Iterator[Fault]:
    template = cfg.DATA.FRAME_TEMPLATE
    try:
        numbers_differ = template.format(1) != template.format(2)
    except (ValueError, IndexError, KeyError):
        numbers_differ = False
    if not numbers_differ:
        yield (
            "DATA.FRAME_TEMPLATE",
            f"must hold one field for a number, such as 'img_{{:05}}.jpg', got {template!r}",
        )
    if cfg.DATA.SCALE_IN_DECODER and cfg.DATA.FORMAT == "frames":
        yield "DATA.SCALE_IN_DECODER", "must be off with DATA.FORMAT frames: images are not read by FFmpeg"
    if cfg.DATA.SCALE_IN_DECODER and cfg.DATA.DECODING_BACKEND not in ("auto", "pyav"):
        yield (
            "DATA.SCALE_IN_DECODER",
            f"must be off with DATA.DECODING_BACKEND {cfg.DATA.DECODING_BACKEND!r}: only 'pyav' can",
        )
    if cfg.DATA.MULTI_LABEL and cfg.SOLVER.LABEL_SMOOTHING:
        yield (
            "SOLVER.LABEL_SMOOTHING",
            "must be 0 with DATA.MULTI_LABEL, whose loss asks each class on its own, got "
            f"{cfg.SOLVER.LABEL_SMOOTHING!r}",
        )
    if cfg.DATA.MULTI_LABEL and cfg.TRAIN.CLASS_BALANCED:
        yield "TRAIN.CLASS_BALANCED", "must be off with DATA.MULTI_LABEL: a video there has no one class"


def _sampling(cfg: CfgNode) -> Iterator[Fault]:
    own = ("uniform", "dense")
    for key, choices in (("TSN.SAMPLING", own), ("TSN.TEST_SAMPLING", ("", *own))):
        value = _value(cfg, key)
        # Only a name of somebody else's is worth a look at what is installed.
        if value not in choices and value not in SAMPLERS.names():
            others = [name for name in SAMPLERS.names() if name not in own]
            yield key, f"must be one of {', '.join(map(repr, (*choices, *others)))}, got {value!r}"
    test_sampling = cfg.TSN.TEST_SAMPLING or cfg.TSN.SAMPLING
    if test_sampling == "uniform" and cfg.TEST.NUM_ENSEMBLE_VIEWS not in (1, 2):
        yield (
            "TEST.NUM_ENSEMBLE_VIEWS",
            f"must be 1 or 2 (twice sample) with uniform sampling, got {cfg.TEST.NUM_ENSEMBLE_VIEWS}; "
            "more views in time need TSN.TEST_SAMPLING dense",
        )
    if cfg.MODEL.ARCH == "tsm" and cfg.TEST.NUM_FRAMES not in (0, cfg.DATA.NUM_FRAMES):
        yield (
            "TEST.NUM_FRAMES",
            f"must be 0 or DATA.NUM_FRAMES ({cfg.DATA.NUM_FRAMES}) for tsm, whose shift is trained for that "
            f"many frames, got {cfg.TEST.NUM_FRAMES}",
        )
    is_dense = "dense" in (cfg.TSN.SAMPLING, test_sampling)
    if is_dense and max(cfg.DATA.NUM_FRAMES, cfg.TEST.NUM_FRAMES) > cfg.TSN.SAMPLE_RANGE:
        yield (
            "TSN.SAMPLE_RANGE",
            f"must be at least DATA.NUM_FRAMES ({cfg.DATA.NUM_FRAMES}), got {cfg.TSN.SAMPLE_RANGE}",
        )


def _pixels(cfg: CfgNode) -> Iterator[Fault]:
    for key in ("DATA.MEAN", "DATA.STD"):
        if len(_value(cfg, key)) != 3:  # type: ignore[arg-type]
            yield key, f"must hold one number for each of R, G, B, got {_value(cfg, key)!r}"
    if any(not std > 0 for std in cfg.DATA.STD):
        yield "DATA.STD", f"must be positive, got {list(cfg.DATA.STD)!r}"
    if cfg.DATA.STD and max(cfg.DATA.STD) <= 1.0:
        yield "DATA.STD", f"is in 0-255 here, got {list(cfg.DATA.STD)!r}; multiply MEAN and STD by 255"
    for split in ("TRAIN", "TEST"):
        short_side, crop = cfg.DATA[f"{split}_SHORT_SIDE"], cfg.DATA[f"{split}_CROP_SIZE"]
        resized_after = split == "TRAIN" and cfg.AUG.CROP != "center"
        if 0 < short_side < crop and not resized_after:
            yield (
                f"DATA.{split}_CROP_SIZE",
                f"must be at most DATA.{split}_SHORT_SIDE ({short_side}), got {crop}",
            )
    if not cfg.AUG.CROP_SCALES or any(not 0.0 < scale <= 1.0 for scale in cfg.AUG.CROP_SCALES):
        yield "AUG.CROP_SCALES", f"must be numbers in (0, 1], got {list(cfg.AUG.CROP_SCALES)!r}"
    labels: list[object] = []
    for pair in cfg.DATA.FLIP_LABEL_PAIRS:
        is_pair = isinstance(pair, list | tuple) and len(pair) == 2
        if not is_pair or any(
            type(label) is not int or not 0 <= label < cfg.MODEL.NUM_CLASSES for label in pair
        ):
            yield (
                "DATA.FLIP_LABEL_PAIRS",
                f"must hold pairs of labels below MODEL.NUM_CLASSES ({cfg.MODEL.NUM_CLASSES}), got {pair!r}",
            )
        else:
            labels += pair
    if len(set(labels)) < len(labels):
        yield "DATA.FLIP_LABEL_PAIRS", "must name a label once only"


def _augmentation(cfg: CfgNode) -> Iterator[Fault]:
    if not _AA_TYPE.fullmatch(cfg.AUG.AA_TYPE):
        yield (
            "AUG.AA_TYPE",
            "must be '', 'imgaug_default' or a RandAugment string of timm such as 'rand-m9-mstd0.5-inc1', "
            f"got {cfg.AUG.AA_TYPE!r}",
        )
    jitter = list(cfg.AUG.COLOR_JITTER)
    if len(jitter) != 4 or any(not strength >= 0.0 for strength in jitter) or jitter[3] > 0.5:
        yield (
            "AUG.COLOR_JITTER",
            "must hold brightness, contrast, saturation and hue, none negative and the last at most 0.5, "
            f"got {jitter!r}",
        )
    if cfg.MIXUP.ENABLE and not (cfg.MIXUP.ALPHA or cfg.MIXUP.CUTMIX_ALPHA):
        yield "MIXUP.ALPHA", "or MIXUP.CUTMIX_ALPHA must be positive with MIXUP.ENABLE, got 0 for both"
    if cfg.MIXUP.ENABLE and cfg.MIXUP.LABEL_SMOOTH_VALUE and cfg.SOLVER.LABEL_SMOOTHING:
        yield (
            "SOLVER.LABEL_SMOOTHING",
            "must be 0 with MIXUP.ENABLE and its LABEL_SMOOTH_VALUE, which smooths already, got "
            f"{cfg.SOLVER.LABEL_SMOOTHING!r}",
        )


def _ranks(cfg: CfgNode) -> Iterator[Fault]:
    if cfg.DDP.STATIC_GRAPH and cfg.TRAIN.MAX_CLIPS_PER_FORWARD:
        yield (
            "DDP.STATIC_GRAPH",
            f"must be off with TRAIN.MAX_CLIPS_PER_FORWARD ({cfg.TRAIN.MAX_CLIPS_PER_FORWARD}), whose parts "
            "run with and without an exchange in one step",
        )


def _dump(cfg: CfgNode) -> Iterator[Fault]:
    path = cfg.TEST.SAVE_RESULTS_PATH
    if path and not path.endswith((".pkl", ".json", ".csv")):
        yield "TEST.SAVE_RESULTS_PATH", f"must end in .pkl, .json or .csv, got {path!r}"


def _schedule(cfg: CfgNode) -> Iterator[Fault]:
    steps = list(cfg.SOLVER.STEPS)
    if not steps or steps[0] != 0 or steps != sorted(set(steps)):
        yield "SOLVER.STEPS", f"must start with 0 and rise, got {steps!r}"
    if len(cfg.SOLVER.LRS) != len(steps):
        yield (
            "SOLVER.LRS",
            f"must hold one factor for each of SOLVER.STEPS ({len(steps)}), got {list(cfg.SOLVER.LRS)!r}",
        )
    if cfg.SOLVER.WARMUP_EPOCHS % 1 and not cfg.SOLVER.LR_PER_STEP:
        yield (
            "SOLVER.WARMUP_EPOCHS",
            f"must be whole epochs unless SOLVER.LR_PER_STEP is on, got {cfg.SOLVER.WARMUP_EPOCHS!r}",
        )
