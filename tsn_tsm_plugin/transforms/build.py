"""build_clip_transform, build_index_sampler, ...: sampler, clip transform and batch mixing from a config."""

from collections.abc import Callable

from torch import Tensor, nn

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.config.key import PRESET
from tsn_tsm_plugin.config.node import plain
from tsn_tsm_plugin.config.values import named_options
from tsn_tsm_plugin.registry import BATCH_TRANSFORMS, SAMPLERS, TRANSFORMS
from tsn_tsm_plugin.transforms.clip_transform import ClipTransform
from tsn_tsm_plugin.transforms.create import create_test_transform, create_tsn_train_transform
from tsn_tsm_plugin.transforms.modality import MODALITIES
from tsn_tsm_plugin.transforms.random_erasing import RandomErasing
from tsn_tsm_plugin.transforms.segments import IndexSampler

BatchTransform = Callable[..., tuple[Tensor, Tensor]]


def build_clip_transform(cfg: CfgNode, split: str) -> ClipTransform:
    """Return the transform of a decoded clip: the steps of ``DATA.TRAIN_TRANSFORMS`` or ``TEST_TRANSFORMS``.

    Args:
        cfg: The config.
        split: ``"train"``; ``"val"``, whose preset is one centre crop of the training size; ``"test"``, whose
            preset is ``TEST.NUM_SPATIAL_CROPS`` crops, crop-major; or ``"center"``, one centre test crop.

    Raises:
        ConfigError: If a step does not take its options.
    """
    node = "TRAIN_TRANSFORMS" if split == "train" else "TEST_TRANSFORMS"
    steps: list[nn.Module] = []
    for item in cfg.DATA[node]:
        name, options = named_options(item)
        if name == PRESET:
            steps += (_build_train_preset(cfg) if split == "train" else _build_test_preset(cfg, split)).steps
        else:
            steps.append(TRANSFORMS.create(name, options=options, key=f"DATA.{node}"))
    return ClipTransform(steps)


def build_normalize(cfg: CfgNode) -> nn.Module:
    """Return the normalisation of uint8 batches of ``DATA.MODALITY``."""
    to_bgr = cfg.DATA.CHANNEL_ORDER == "bgr"
    return MODALITIES[cfg.DATA.MODALITY].normalize(cfg.DATA.MEAN, cfg.DATA.STD, to_bgr=to_bgr)


def build_batch_transform(cfg: CfgNode) -> BatchTransform | None:
    """Return the batch transform of normalised training clips and labels; None if ``MIXUP.ENABLE`` is off.

    Raises:
        ConfigError: If ``MIXUP.METHOD`` does not take ``MIXUP.OPTIONS``.
    """
    mixup = cfg.MIXUP
    if not mixup.ENABLE:
        return None
    common = {"label_smoothing": mixup.LABEL_SMOOTH_VALUE, "per_sample": mixup.PER_SAMPLE}
    preset = {
        "mixup": {"alpha": mixup.ALPHA, **common},
        "cutmix": {"alpha": mixup.CUTMIX_ALPHA, **common},
        "random_mix": {
            "mixup_alpha": mixup.ALPHA,
            "cutmix_alpha": mixup.CUTMIX_ALPHA,
            "prob": mixup.PROB,
            "switch_prob": mixup.SWITCH_PROB,
            **common,
        },
    }.get(mixup.METHOD, {})
    return BATCH_TRANSFORMS.create(
        mixup.METHOD,
        options={**preset, **plain(mixup.OPTIONS)},
        key="MIXUP.OPTIONS",
        num_classes=cfg.MODEL.NUM_CLASSES,
    )


def frames_of_view(cfg: CfgNode, split: str) -> int:
    """Return how many frames one view has, T; ``"test"`` may have more than the other splits."""
    return (split == "test" and cfg.TEST.NUM_FRAMES) or cfg.DATA.NUM_FRAMES


def build_index_sampler(cfg: CfgNode, split: str) -> IndexSampler:
    """Return the function from a video's number of frames to the frames of its views.

    Args:
        cfg: The config. ``DATA.SAMPLER`` names the sampler; ``DATA.TEST_SAMPLER``, if set, is used in
            validation and testing.
        split: ``"train"`` (random), ``"val"`` (the centre of each segment, or every dense window) or
            ``"test"`` (``TEST.NUM_ENSEMBLE_VIEWS`` views of ``TEST.NUM_FRAMES`` frames).
    """
    mode = "train" if split == "train" else "test"
    num_frames = frames_of_view(cfg, split)
    node = "TEST_SAMPLER" if mode == "test" and cfg.DATA.TEST_SAMPLER else "SAMPLER"
    sampler = cfg.DATA[node]
    num_views = cfg.TEST.NUM_ENSEMBLE_VIEWS if split == "test" or sampler == "dense" else 1
    preset = {
        "uniform": {"keep_tail_frames": cfg.DATA.KEEP_TAIL_FRAMES},
        "dense": {"sample_range": cfg.DATA.DENSE_WINDOW},
    }.get(sampler, {})
    key = f"{node}_OPTIONS"
    return SAMPLERS.create(
        sampler,
        num_frames,
        options={**preset, **plain(cfg.DATA[key])},
        key=f"DATA.{key}",
        mode=mode,
        num_views=num_views,
    )


def _build_test_preset(cfg: CfgNode, split: str) -> ClipTransform:
    return create_test_transform(
        short_side=cfg.DATA.TEST_SHORT_SIDE,
        crop_size=cfg.DATA.TRAIN_CROP_SIZE if split == "val" else cfg.DATA.TEST_CROP_SIZE,
        num_crops=cfg.TEST.NUM_SPATIAL_CROPS if split == "test" else 1,
        is_flow=MODALITIES[cfg.DATA.MODALITY].is_flow,
    )


def _build_train_preset(cfg: CfgNode) -> ClipTransform:
    erasing = None
    if cfg.AUG.RE_PROB:
        erasing = RandomErasing(
            cfg.AUG.RE_PROB,
            mode=cfg.AUG.RE_MODE,
            max_count=cfg.AUG.RE_COUNT,
            per_frame=cfg.AUG.RE_PER_FRAME,
            mean=cfg.DATA.MEAN,
            std=cfg.DATA.STD,
        )
    return create_tsn_train_transform(
        short_side=cfg.DATA.TRAIN_SHORT_SIDE,
        crop_size=cfg.DATA.TRAIN_CROP_SIZE,
        crop=cfg.AUG.CROP,
        crop_scales=cfg.AUG.CROP_SCALES,
        num_fixed_crops=cfg.AUG.NUM_FIXED_CROPS,
        flip_prob=0.5 if cfg.DATA.RANDOM_FLIP else 0.0,
        flip_label_pairs=cfg.DATA.FLIP_LABEL_PAIRS,
        is_flow=MODALITIES[cfg.DATA.MODALITY].is_flow,
        rand_augment=cfg.AUG.AA_TYPE,
        color_jitter=cfg.AUG.COLOR_JITTER,
        random_erasing=erasing,
    )
