"""frame_features: compute the last feature map of each frame."""

import torch
from torch import Tensor, nn


def frame_features(model: nn.Module, video_BCTHW: Tensor) -> Tensor:
    """Return the last feature map of each frame, (B, C', T, h, w), of a normalised clip.

    Args:
        model: A TSN or TSM.
        video_BCTHW: Normalised clips (B, 3, T, H, W).
    """
    frames = video_BCTHW.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    features: Tensor = model.get_submodule("backbone")(frames)
    return features.unflatten(0, (len(video_BCTHW), -1)).transpose(1, 2)
