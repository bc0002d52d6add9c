"""Samplers, resizing, crops, flips, augmentation, normalisation and mixed batches."""

# ruff: noqa: E402
from tsn_tsm_plugin.requirements import check_torchvision_imports

check_torchvision_imports()

from tsn_tsm_plugin.transforms.clip_transform import ClipTransform
from tsn_tsm_plugin.transforms.color_jitter import ColorJitter
from tsn_tsm_plugin.transforms.create import create_test_transform, create_tsn_train_transform
from tsn_tsm_plugin.transforms.flip import RandomHorizontalFlip
from tsn_tsm_plugin.transforms.imgaug_augment import ImgaugRandAugment
from tsn_tsm_plugin.transforms.mix import CutMix, MixCollate, MixUp, RandomMix
from tsn_tsm_plugin.transforms.normalize import Normalize
from tsn_tsm_plugin.transforms.rand_augment import RandAugment
from tsn_tsm_plugin.transforms.random_crop import MultiScaleCrop, RandomResizedCrop
from tsn_tsm_plugin.transforms.random_erasing import RandomErasing
from tsn_tsm_plugin.transforms.resize import ShortSideScale, resize
from tsn_tsm_plugin.transforms.segments import (
    DenseViews,
    SampleFrames,
    TwiceSample,
    dense_indices,
    dense_sampler,
    segment_indices,
    uniform_sampler,
)
from tsn_tsm_plugin.transforms.view_crop import CenterCrop, TenCrop, ThreeCrop

__all__ = [
    "CenterCrop",
    "ClipTransform",
    "ColorJitter",
    "CutMix",
    "DenseViews",
    "ImgaugRandAugment",
    "MixCollate",
    "MixUp",
    "MultiScaleCrop",
    "Normalize",
    "RandAugment",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomMix",
    "RandomResizedCrop",
    "SampleFrames",
    "ShortSideScale",
    "TenCrop",
    "ThreeCrop",
    "TwiceSample",
    "create_test_transform",
    "create_tsn_train_transform",
    "dense_indices",
    "dense_sampler",
    "resize",
    "segment_indices",
    "uniform_sampler",
]
