"""From a config to what the dataset does with a video: which frames it reads and what becomes of them."""

from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import nn

from tsn_tsm_plugin.registry import SAMPLERS
from tsn_tsm_plugin.transforms.flip import RandomHorizontalFlip
from tsn_tsm_plugin.transforms.random_crop import MultiScaleCrop, RandomResizedCrop
from tsn_tsm_plugin.transforms.resize import ShortSideScale
from tsn_tsm_plugin.transforms.segments import IndexSampler
from tsn_tsm_plugin.transforms.view_crop import CenterCrop, TenCrop, ThreeCrop

_TEST_CROPS = {1: CenterCrop, 3: ThreeCrop, 10: TenCrop}


class ClipTransform:
    """Apply modules in order to the ``video`` of a clip dictionary; a flip also sees the ``label``.

    Args:
        steps: Modules from (C, T, H, W) to (C, T', H', W'). Random ones take ``generator``.
    """

    def __init__(self, steps: list[nn.Module]) -> None:
        self.steps = steps

    def __call__(self, clip: dict[str, Any], generator: torch.Generator | None = None) -> dict[str, Any]:
        """Return a new dictionary; the input's is left as it is."""
        video, label = clip["video"], clip["label"]
        for step in self.steps:
            if isinstance(step, RandomHorizontalFlip):
                video, label = step(video, label, generator=generator)
            elif isinstance(step, MultiScaleCrop | RandomResizedCrop):
                video = step(video, generator=generator)
            else:
                video = step(video)
        return {**clip, "video": video, "label": label}

    def __repr__(self) -> str:
        return " -> ".join(repr(step) for step in self.steps)


def build_clip_transform(cfg: CfgNode, split: str) -> ClipTransform:
    """Return what becomes of a decoded clip.

    Args:
        cfg: The config.
        split: ``"train"``; ``"val"``, one centre crop of the training size; or ``"test"``,
            ``TEST.NUM_SPATIAL_CROPS`` crops, crop-major.
    """
    if split == "train":
        return ClipTransform(_train_steps(cfg))
    if split == "val":
        return ClipTransform(
            [*_scale(cfg.DATA.TEST_SHORT_SIDE, exact=True), CenterCrop(cfg.DATA.TRAIN_CROP_SIZE)]
        )
    crop = _TEST_CROPS[cfg.TEST.NUM_SPATIAL_CROPS](cfg.DATA.TEST_CROP_SIZE)
    return ClipTransform([*_scale(cfg.DATA.TEST_SHORT_SIDE, exact=True), crop])


def build_index_sampler(cfg: CfgNode, split: str) -> IndexSampler:
    """Return the function from a video's number of frames to the frames of its views.

    Args:
        cfg: The config.
        split: ``"train"`` (random), ``"val"`` (the centre of each segment, or every dense window) or
            ``"test"`` (``TEST.NUM_ENSEMBLE_VIEWS`` views of ``TEST.NUM_FRAMES`` frames).
    """
    mode = "train" if split == "train" else "test"
    num_frames = (split == "test" and cfg.TEST.NUM_FRAMES) or cfg.DATA.NUM_FRAMES
    sampling = cfg.TSN.SAMPLING if split == "train" else cfg.TSN.TEST_SAMPLING or cfg.TSN.SAMPLING
    create = SAMPLERS.get(sampling)
    if sampling == "dense":
        return create(
            num_frames, mode=mode, num_views=cfg.TEST.NUM_ENSEMBLE_VIEWS, sample_range=cfg.TSN.SAMPLE_RANGE
        )
    num_views = cfg.TEST.NUM_ENSEMBLE_VIEWS if split == "test" else 1
    return create(num_frames, mode=mode, num_views=num_views, keep_tail_frames=cfg.TSN.KEEP_TAIL_FRAMES)


def _train_steps(cfg: CfgNode) -> list[nn.Module]:
    size = cfg.DATA.TRAIN_CROP_SIZE
    crops = {
        "multi_scale": MultiScaleCrop(
            size, scales=cfg.AUG.CROP_SCALES, num_fixed_crops=cfg.AUG.NUM_FIXED_CROPS
        ),
        "random_resized": RandomResizedCrop(size),
        "center": CenterCrop(size),
    }
    # Augmentation moves pixels by more than one level anyway: training takes the faster resize.
    steps = [*_scale(cfg.DATA.TRAIN_SHORT_SIDE, exact=False), crops[cfg.AUG.CROP]]
    if cfg.DATA.RANDOM_FLIP:
        steps.append(RandomHorizontalFlip(label_pairs=cfg.DATA.FLIP_LABEL_PAIRS))
    return steps


def _scale(short_side: int, *, exact: bool) -> list[nn.Module]:
    return [ShortSideScale(short_side, exact=exact)] if short_side else []
