"""validate: find every broken rule of a config, for single keys and for keys that must agree."""

import difflib
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
# An error lists more names than this only if none of them is near to the given name.
_MOST_NAMES = 8


def validate(cfg: CfgNode) -> list[Fault]:
    """Return every broken rule as ``(key, rule and given value)``."""
    faults = [*_keys(cfg), *_frame_template(cfg)]
    for rules in (_model, _storage, _sampling, _pixels, _augmentation, _loss, _training):
        faults += [(key, f"must {rule}, got {plain(value_of(cfg, key))!r}") for key, rule in rules(cfg)]
    return faults


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
        known = list(dict.fromkeys((default, *names)))
        near = difflib.get_close_matches(name, known) if len(known) > _MOST_NAMES else []
        kind = f"one of {len(known)} names, nearest" if near else "one of"
        yield key.name, f"must be {kind} {', '.join(map(repr, near or known))}, got {name!r}"


def _frame_template(cfg: CfgNode) -> Iterator[Fault]:
    try:
        (flow_templates if cfg.DATA.MODALITY == "flow" else frame_namer)(cfg.DATA.FRAME_TEMPLATE)
    except ValueError as error:
        yield "DATA.FRAME_TEMPLATE", str(error)


def _model(cfg: CfgNode) -> Iterator[Fault]:
    for node, name in (("MODEL", "HEAD"), ("DATA", "TEST_SAMPLER")):
        if cfg[node][f"{name}_OPTIONS"] and not cfg[node][name]:
            yield f"{node}.{name}_OPTIONS", f"be empty without {node}.{name}, the component that takes them"
    for name in ("MODEL.TEMPORAL_MODULES", "TSM.SITES"):
        if cfg.MODEL.ARCH == "tsn" and value_of(cfg, name):
            yield name, "be empty for tsn, which scores each frame independently"
    is_named = any(
        "non_local" in (item.values() if isinstance(item, dict) else (item,))
        for item in cfg.MODEL.TEMPORAL_MODULES
    )
    has_non_local = cfg.MODEL.ARCH == "tsm" and (cfg.NONLOCAL.INSTANTIATION or is_named)
    if cfg.NONLOCAL.ACT_CHECKPOINT and not has_non_local:
        yield (
            "NONLOCAL.ACT_CHECKPOINT",
            "be off for a network without non-local blocks (a tsm has them with NONLOCAL.INSTANTIATION)",
        )
    if cfg.BN.FREEZE_STATS and cfg.BN.USE_PRECISE_STATS:
        yield "BN.USE_PRECISE_STATS", "be off with BN.FREEZE_STATS, which keeps running statistics"


def _storage(cfg: CfgNode) -> Iterator[Fault]:
    data = cfg.DATA
    if data.MODALITY == "flow" and data.FORMAT in ("videos", "shards"):
        yield "DATA.FORMAT", "be frames with DATA.MODALITY flow"
    if data.SCALE_IN_DECODER and data.FORMAT == "frames":
        yield "DATA.SCALE_IN_DECODER", "be off with DATA.FORMAT frames: images are not read by FFmpeg"
    if data.SCALE_IN_DECODER and data.DECODING_BACKEND not in ("auto", "pyav"):
        backend = f"DATA.DECODING_BACKEND {data.DECODING_BACKEND!r}"
        yield "DATA.SCALE_IN_DECODER", f"be off with {backend}: only 'pyav' can"
    if data.MULTI_LABEL and cfg.SOLVER.LABEL_SMOOTHING:
        yield "SOLVER.LABEL_SMOOTHING", "be 0 with DATA.MULTI_LABEL, which scores each class independently"
    if data.MULTI_LABEL and cfg.TRAIN.CLASS_BALANCED:
        yield "TRAIN.CLASS_BALANCED", "be off with DATA.MULTI_LABEL: a video there has no one class"


def _sampling(cfg: CfgNode) -> Iterator[Fault]:
    num_frames, test_sampling = cfg.DATA.NUM_FRAMES, cfg.DATA.TEST_SAMPLER or cfg.DATA.SAMPLER
    if test_sampling == "uniform" and cfg.TEST.NUM_ENSEMBLE_VIEWS not in (1, 2):
        yield (
            "TEST.NUM_ENSEMBLE_VIEWS",
            "be 1 or 2 (twice sample) with uniform sampling (DATA.TEST_SAMPLER dense takes more)",
        )
    if cfg.MODEL.ARCH == "tsm" and cfg.TEST.NUM_FRAMES not in (0, num_frames):
        yield (
            "TEST.NUM_FRAMES",
            f"be 0 or DATA.NUM_FRAMES ({num_frames}) for tsm (its shift is trained for that many frames)",
        )
    is_dense = "dense" in (cfg.DATA.SAMPLER, test_sampling)
    if is_dense and max(num_frames, cfg.TEST.NUM_FRAMES) > cfg.DATA.DENSE_WINDOW:
        yield "DATA.DENSE_WINDOW", f"be at least DATA.NUM_FRAMES ({num_frames})"


def _pixels(cfg: CfgNode) -> Iterator[Fault]:
    data = cfg.DATA
    rule = numbers_for(*(("x", "y") if data.MODALITY == "flow" else ("R", "G", "B")))
    for name in ("MEAN", "STD"):
        if not rule.holds(data[name]):
            yield f"DATA.{name}", rule.text
            return
    if any(not std > 0 for std in data.STD):
        yield "DATA.STD", "be positive"
    if data.CHANNEL_ORDER != "rgb" and data.MODALITY == "flow":
        yield "DATA.CHANNEL_ORDER", "be rgb with DATA.MODALITY flow, which has no colours"
    if data.CHANNEL_ORDER != "rgb" and cfg.MODEL.BACKBONE == "bn_inception":
        yield "DATA.CHANNEL_ORDER", "be rgb with bn_inception, which takes RGB and reverses it"
    # Caffe's networks have a standard deviation of exactly 1 and means in 0-255.
    is_caffe = set(data.STD) == {1.0} and max(data.MEAN, default=0.0) > 1.0
    if data.STD and max(data.STD) <= 1.0 and not is_caffe:
        yield "DATA.STD", "be in 0-255 (multiply MEAN and STD by 255)"
    for split in ("TRAIN", "TEST"):
        short_side = data[f"{split}_SHORT_SIDE"]
        resized_after = split == "TRAIN" and cfg.AUG.CROP != "center"
        if 0 < short_side < data[f"{split}_CROP_SIZE"] and not resized_after:
            yield f"DATA.{split}_CROP_SIZE", f"be at most DATA.{split}_SHORT_SIDE ({short_side})"
    labels: list[object] = []
    for pair in data.FLIP_LABEL_PAIRS:
        is_pair = isinstance(pair, list | tuple) and len(pair) == 2
        if is_pair and all(type(label) is int and 0 <= label < cfg.MODEL.NUM_CLASSES for label in pair):
            labels += pair
        else:
            num_classes = f"MODEL.NUM_CLASSES ({cfg.MODEL.NUM_CLASSES})"
            yield "DATA.FLIP_LABEL_PAIRS", f"hold pairs of labels below {num_classes}, unlike {pair!r}"
    if len(set(labels)) < len(labels):
        yield "DATA.FLIP_LABEL_PAIRS", "name a label once only"


def _augmentation(cfg: CfgNode) -> Iterator[Fault]:
    if cfg.DATA.MODALITY != "rgb":
        colour = {"AA_TYPE": "", "COLOR_JITTER": [0.0, 0.0, 0.0, 0.0], "RE_PROB": 0.0}
        for name, off in colour.items():
            if plain(cfg.AUG[name]) != off:
                yield f"AUG.{name}", f"be {off!r} with DATA.MODALITY {cfg.DATA.MODALITY}"
    if not _AA_TYPE.fullmatch(cfg.AUG.AA_TYPE):
        forms = "'', 'imgaug_default' or a RandAugment string of timm such as 'rand-m9-mstd0.5-inc1'"
        yield "AUG.AA_TYPE", f"be {forms}"
    jitter = cfg.AUG.COLOR_JITTER
    if len(jitter) != 4 or any(not strength >= 0.0 for strength in jitter) or jitter[3] > 0.5:
        yield (
            "AUG.COLOR_JITTER",
            "hold brightness, contrast, saturation and hue, none negative and the last at most 0.5",
        )
    mixup = cfg.MIXUP
    if mixup.ENABLE and mixup.METHOD == "random_mix":
        if not (mixup.ALPHA or mixup.CUTMIX_ALPHA):
            yield "MIXUP.ALPHA", "be positive with MIXUP.ENABLE if MIXUP.CUTMIX_ALPHA is 0"
    elif mixup.ENABLE and mixup.PROB < 1.0:
        yield "MIXUP.PROB", f"be 1 with MIXUP.METHOD {mixup.METHOD} (only random_mix chooses)"
    if mixup.ENABLE and mixup.LABEL_SMOOTH_VALUE and cfg.SOLVER.LABEL_SMOOTHING:
        yield (
            "SOLVER.LABEL_SMOOTHING",
            "be 0 with MIXUP.ENABLE and its LABEL_SMOOTH_VALUE, which smooths already",
        )


def _loss(cfg: CfgNode) -> Iterator[Fault]:
    name, is_multi_label = cfg.MODEL.LOSS_FUNC, cfg.DATA.MULTI_LABEL
    if cfg.SOLVER.LABEL_SMOOTHING and name not in ("", "cross_entropy"):
        yield (
            "SOLVER.LABEL_SMOOTHING",
            f"be 0 with MODEL.LOSS_FUNC {name}, which has its own MODEL.LOSS_OPTIONS",
        )
    if is_multi_label and name in ("cross_entropy", "focal"):
        yield "MODEL.LOSS_FUNC", "score each class independently with DATA.MULTI_LABEL"
    if not is_multi_label and not cfg.MIXUP.ENABLE and name in ("binary_cross_entropy", "binary_focal"):
        yield "MODEL.LOSS_FUNC", "compare the classes without DATA.MULTI_LABEL, since videos have one class"
    if cfg.SOLVER.CLASS_WEIGHTS and "class_weights" in cfg.MODEL.LOSS_OPTIONS:
        yield "SOLVER.CLASS_WEIGHTS", "be '' with class_weights in MODEL.LOSS_OPTIONS"


def _training(cfg: CfgNode) -> Iterator[Fault]:
    solver, max_clips = cfg.SOLVER, cfg.TRAIN.MAX_CLIPS_PER_FORWARD
    if cfg.DDP.STATIC_GRAPH and max_clips:
        yield (
            "DDP.STATIC_GRAPH",
            f"be off with TRAIN.MAX_CLIPS_PER_FORWARD ({max_clips}), which runs forward passes with and "
            "without synchronisation in one step",
        )
    if len(solver.LRS) != len(solver.STEPS):
        yield "SOLVER.LRS", f"hold one factor for each of SOLVER.STEPS ({len(solver.STEPS)})"
    if solver.WARMUP_EPOCHS % 1 and not solver.LR_PER_STEP:
        yield "SOLVER.WARMUP_EPOCHS", "be whole epochs unless SOLVER.LR_PER_STEP is on"
