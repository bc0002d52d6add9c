"""Frame sampling, resizing, crops, flips and normalisation."""

from tsn_tsm_plugin.transforms.flip import RandomHorizontalFlip
from tsn_tsm_plugin.transforms.normalize import Normalize
from tsn_tsm_plugin.transforms.random_crop import MultiScaleCrop, RandomResizedCrop
from tsn_tsm_plugin.transforms.resize import ShortSideScale, resize
from tsn_tsm_plugin.transforms.segments import (
    TwiceSample,
    dense_indices,
    dense_sampler,
    segment_indices,
    uniform_sampler,
)
from tsn_tsm_plugin.transforms.view_crop import CenterCrop, TenCrop, ThreeCrop

__all__ = [
    "CenterCrop",
    "MultiScaleCrop",
    "Normalize",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "ShortSideScale",
    "TenCrop",
    "ThreeCrop",
    "TwiceSample",
    "dense_indices",
    "dense_sampler",
    "resize",
    "segment_indices",
    "uniform_sampler",
]
