"""validate: find every broken rule of a config, for single keys and for keys that must agree."""

import re
from collections.abc import Iterator

from tsn_tsm_plugin.config.defaults import KEYS, value_of
from tsn_tsm_plugin.config.frame_template import flow_templates, frame_namer
from tsn_tsm_plugin.config.key import PRESET, Key, numbers_for
from tsn_tsm_plugin.config.node import CfgNode, plain
from tsn_tsm_plugin.config.values import WrongTypeError, named_options
from tsn_tsm_plugin.registry import REGISTRIES

Fault = tuple[str, str]

_AA_TYPE = re.compile(
    r"|imgaug_default|rand(-(m(max)?\d+|n[1-9]\d*|(p|mstd)(\d+\.?\d*|inf)|inc[01]|t(weights|3aw?)))*"
)


def validate(cfg: CfgNode) -> list[Fault]:
    """Return every broken rule as ``(key, rule and given value)``."""
    rules = (_keys, _model, _storage, _sampling, _pixels, _augmentation, _loss, _training)
    return [fault for rule in rules for fault in rule(cfg)]


def _keys(cfg: CfgNode) -> Iterator[Fault]:
    for key in KEYS.values():
        value = value_of(cfg, key.name)
        if key.rule is not None and not key.rule.holds(value):
            yield key.name, f"must {key.rule.text}, got {value!r}"
        if key.component:
            for item in [value] if isinstance(value, str) else value:
                yield from _component(key, item)


def _component(key: Key, item: object) -> Iterator[Fault]:
    """Look up a name other than the default; another library checks names with a slash."""
    try:
        name, _ = named_options(item, key.entry_keys)
    except WrongTypeError as error:
        yield key.name, str(error)
        return
    default = key.default if isinstance(key.default, str) else PRESET
    if name == default or "/" in name:
        return
    names = REGISTRIES[key.component].names()
    if name not in names:
        known = ", ".join(map(repr, dict.fromkeys((default, *names))))
        yield key.name, f"must be one of {known}, got {name!r}"


def _model(cfg: CfgNode) -> Iterator[Fault]:
    for node, name in (("MODEL", "HEAD"), ("DATA", "TEST_SAMPLER")):
        if cfg[node][f"{name}_OPTIONS"] and not cfg[node][name]:
            yield (
                f"{node}.{name}_OPTIONS",
                f"must be empty without {node}.{name}, the component that takes them",
            )
    for name, value in (("MODEL.TEMPORAL_MODULES", cfg.MODEL.TEMPORAL_MODULES), ("TSM.SITES", cfg.TSM.SITES)):
        if cfg.MODEL.ARCH == "tsn" and value:
            yield name, f"must be empty for tsn, which scores each frame independently, got {plain(value)!r}"
    is_named = any(
        "non_local" in (item.values() if isinstance(item, dict) else (item,))
        for item in cfg.MODEL.TEMPORAL_MODULES
    )
    has_non_local = cfg.MODEL.ARCH == "tsm" and (cfg.NONLOCAL.INSTANTIATION or is_named)
    if cfg.NONLOCAL.ACT_CHECKPOINT and not has_non_local:
        yield (
            "NONLOCAL.ACT_CHECKPOINT",
            "must be off for a network without non-local blocks; a tsm has them with NONLOCAL.INSTANTIATION",
        )
    if cfg.BN.FREEZE_STATS and cfg.BN.USE_PRECISE_STATS:
        yield (
            "BN.USE_PRECISE_STATS",
            "must be off with BN.FREEZE_STATS, which keeps running statistics, got True",
        )


def _storage(cfg: CfgNode) -> Iterator[Fault]:
    is_flow = cfg.DATA.MODALITY == "flow"
    if is_flow and cfg.DATA.FORMAT in ("videos", "shards"):
        yield "DATA.FORMAT", f"must be frames with DATA.MODALITY flow, got {cfg.DATA.FORMAT!r}"
    try:
        (flow_templates if is_flow else frame_namer)(cfg.DATA.FRAME_TEMPLATE)
    except ValueError as error:
        yield "DATA.FRAME_TEMPLATE", str(error)
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
            "must be 0 with DATA.MULTI_LABEL, which scores each class independently, got "
            f"{cfg.SOLVER.LABEL_SMOOTHING!r}",
        )
    if cfg.DATA.MULTI_LABEL and cfg.TRAIN.CLASS_BALANCED:
        yield "TRAIN.CLASS_BALANCED", "must be off with DATA.MULTI_LABEL: a video there has no one class"


def _sampling(cfg: CfgNode) -> Iterator[Fault]:
    test_sampling = cfg.DATA.TEST_SAMPLER or cfg.DATA.SAMPLER
    if test_sampling == "uniform" and cfg.TEST.NUM_ENSEMBLE_VIEWS not in (1, 2):
        yield (
            "TEST.NUM_ENSEMBLE_VIEWS",
            f"must be 1 or 2 (twice sample) with uniform sampling, got {cfg.TEST.NUM_ENSEMBLE_VIEWS}; "
            "more views in time need DATA.TEST_SAMPLER dense",
        )
    if cfg.MODEL.ARCH == "tsm" and cfg.TEST.NUM_FRAMES not in (0, cfg.DATA.NUM_FRAMES):
        yield (
            "TEST.NUM_FRAMES",
            f"must be 0 or DATA.NUM_FRAMES ({cfg.DATA.NUM_FRAMES}) for tsm (its shift is trained for "
            f"that many frames), got {cfg.TEST.NUM_FRAMES}",
        )
    is_dense = "dense" in (cfg.DATA.SAMPLER, test_sampling)
    if is_dense and max(cfg.DATA.NUM_FRAMES, cfg.TEST.NUM_FRAMES) > cfg.DATA.DENSE_WINDOW:
        yield (
            "DATA.DENSE_WINDOW",
            f"must be at least DATA.NUM_FRAMES ({cfg.DATA.NUM_FRAMES}), got {cfg.DATA.DENSE_WINDOW}",
        )


def _pixels(cfg: CfgNode) -> Iterator[Fault]:
    channels = ("x", "y") if cfg.DATA.MODALITY == "flow" else ("R", "G", "B")
    for name in ("MEAN", "STD"):
        rule = numbers_for(*channels)
        if not rule.holds(cfg.DATA[name]):
            yield f"DATA.{name}", f"must {rule.text}, got {list(cfg.DATA[name])!r}"
            return
    if any(not std > 0 for std in cfg.DATA.STD):
        yield "DATA.STD", f"must be positive, got {list(cfg.DATA.STD)!r}"
    if cfg.DATA.CHANNEL_ORDER != "rgb" and cfg.DATA.MODALITY == "flow":
        yield "DATA.CHANNEL_ORDER", "must be rgb with DATA.MODALITY flow, which has no colours, got bgr"
    if cfg.DATA.CHANNEL_ORDER != "rgb" and cfg.MODEL.BACKBONE == "bn_inception":
        yield (
            "DATA.CHANNEL_ORDER",
            "must be rgb with bn_inception, which takes RGB and reverses it, got bgr",
        )
    # Caffe's networks have a standard deviation of exactly 1 and means in 0-255.
    is_caffe = set(cfg.DATA.STD) == {1.0} and max(cfg.DATA.MEAN, default=0.0) > 1.0
    if cfg.DATA.STD and max(cfg.DATA.STD) <= 1.0 and not is_caffe:
        yield "DATA.STD", f"is in 0-255 here, got {list(cfg.DATA.STD)!r}; multiply MEAN and STD by 255"
    for split in ("TRAIN", "TEST"):
        short_side, crop = cfg.DATA[f"{split}_SHORT_SIDE"], cfg.DATA[f"{split}_CROP_SIZE"]
        resized_after = split == "TRAIN" and cfg.AUG.CROP != "center"
        if 0 < short_side < crop and not resized_after:
            yield (
                f"DATA.{split}_CROP_SIZE",
                f"must be at most DATA.{split}_SHORT_SIDE ({short_side}), got {crop}",
            )
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
    if cfg.DATA.MODALITY != "rgb":
        colour = {"AA_TYPE": "", "COLOR_JITTER": [0.0, 0.0, 0.0, 0.0], "RE_PROB": 0.0}
        for name, off in colour.items():
            value = cfg.AUG[name]
            if (list(value) if isinstance(value, list | tuple) else value) != off:
                yield f"AUG.{name}", f"must be {off!r} with DATA.MODALITY {cfg.DATA.MODALITY}, got {value!r}"
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
    if cfg.MIXUP.ENABLE and cfg.MIXUP.METHOD == "random_mix":
        if not (cfg.MIXUP.ALPHA or cfg.MIXUP.CUTMIX_ALPHA):
            yield "MIXUP.ALPHA", "or MIXUP.CUTMIX_ALPHA must be positive with MIXUP.ENABLE, got 0 for both"
    elif cfg.MIXUP.ENABLE and cfg.MIXUP.PROB < 1.0:
        yield (
            "MIXUP.PROB",
            f"must be 1 with MIXUP.METHOD {cfg.MIXUP.METHOD}, got {cfg.MIXUP.PROB}; only random_mix chooses",
        )
    if cfg.MIXUP.ENABLE and cfg.MIXUP.LABEL_SMOOTH_VALUE and cfg.SOLVER.LABEL_SMOOTHING:
        yield (
            "SOLVER.LABEL_SMOOTHING",
            "must be 0 with MIXUP.ENABLE and its LABEL_SMOOTH_VALUE, which smooths already, got "
            f"{cfg.SOLVER.LABEL_SMOOTHING!r}",
        )


def _loss(cfg: CfgNode) -> Iterator[Fault]:
    if cfg.SOLVER.LABEL_SMOOTHING and cfg.MODEL.LOSS_FUNC not in ("", "cross_entropy"):
        yield (
            "SOLVER.LABEL_SMOOTHING",
            f"must be 0 with MODEL.LOSS_FUNC {cfg.MODEL.LOSS_FUNC}, which has its own "
            f"MODEL.LOSS_OPTIONS, got {cfg.SOLVER.LABEL_SMOOTHING!r}",
        )
    name = cfg.MODEL.LOSS_FUNC
    if cfg.DATA.MULTI_LABEL and name in ("cross_entropy", "focal"):
        yield (
            "MODEL.LOSS_FUNC",
            f"must not be {name} with DATA.MULTI_LABEL (videos with several classes)",
        )
    if not cfg.DATA.MULTI_LABEL and not cfg.MIXUP.ENABLE and name in ("binary_cross_entropy", "binary_focal"):
        yield "MODEL.LOSS_FUNC", f"must not be {name} without DATA.MULTI_LABEL, since videos have one class"
    if cfg.SOLVER.CLASS_WEIGHTS and "class_weights" in cfg.MODEL.LOSS_OPTIONS:
        yield "SOLVER.CLASS_WEIGHTS", "must be '' with class_weights in MODEL.LOSS_OPTIONS"


def _training(cfg: CfgNode) -> Iterator[Fault]:
    if cfg.DDP.STATIC_GRAPH and cfg.TRAIN.MAX_CLIPS_PER_FORWARD:
        yield (
            "DDP.STATIC_GRAPH",
            f"must be off with TRAIN.MAX_CLIPS_PER_FORWARD ({cfg.TRAIN.MAX_CLIPS_PER_FORWARD}), which "
            f"runs forward passes with and without synchronisation in one step",
        )
    num_steps = len(cfg.SOLVER.STEPS)
    if len(cfg.SOLVER.LRS) != num_steps:
        yield (
            "SOLVER.LRS",
            f"must hold one factor for each of SOLVER.STEPS ({num_steps}), got {list(cfg.SOLVER.LRS)!r}",
        )
    if cfg.SOLVER.WARMUP_EPOCHS % 1 and not cfg.SOLVER.LR_PER_STEP:
        yield (
            "SOLVER.WARMUP_EPOCHS",
            f"must be whole epochs unless SOLVER.LR_PER_STEP is on, got {cfg.SOLVER.WARMUP_EPOCHS!r}",
        )
