"""split_views, average_views: split a video's frames into views, and average the scores of views.

Axes: B videos, V views, K classes, C channels, T frames of one view, H rows, W columns.
"""

import torch
from torch import Tensor


def split_views(video: Tensor, *, num_frames: int) -> Tensor:
    """Cut (B, C, V * T, H, W) into (B * V, C, T, H, W); the views of a video are next to each other.

    Args:
        video: Frames in view order: all frames of the first view, then all frames of the second.
        num_frames: Frames of one view, ``T``.

    Raises:
        ValueError: If the number of frames is not a multiple of ``num_frames``.
    """
    num_videos, channels, total, height, width = video.shape
    if total % num_frames:
        raise ValueError(f"The frames of a video must be a multiple of {num_frames} per view, got {total}.")
    views = video.reshape(num_videos, channels, total // num_frames, num_frames, height, width)
    return views.transpose(1, 2).flatten(0, 1)


def average_views(logits_BVK: Tensor, *, how: str) -> Tensor:
    """Return one row of scores per video, (B, K), from the logits of its views.

    Example:
        >>> logits = torch.tensor([[[0.0, 0.0], [0.0, 2.0]]])  # two views of one video
        >>> average_views(logits, how="logits").softmax(1)
        tensor([[0.2689, 0.7311]])
        >>> average_views(logits, how="probabilities")
        tensor([[0.3096, 0.6904]])

    Args:
        logits_BVK: Logits of each view.
        how: ``"sigmoids"`` (several labels) gives the mean of each view's sigmoid; ``"probabilities"`` (TSM
            in MMAction2) gives the mean of each view's softmax. ``"logits"`` (the original TSM) and
            ``"features"`` (TSN) give mean logits: the classifier is linear, so mean logits of equal views are
            the logits of the mean feature.

    Raises:
        ValueError: If ``how`` is unknown.
    """
    if how in ("features", "logits"):
        return logits_BVK.mean(dim=1)
    if how == "probabilities":
        return torch.softmax(logits_BVK, dim=-1).mean(dim=1)
    if how == "sigmoids":
        return torch.sigmoid(logits_BVK).mean(dim=1)
    raise ValueError(f"how must be one of features, logits, probabilities, sigmoids, got {how!r}.")
