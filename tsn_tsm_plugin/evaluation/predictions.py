"""Predictions, gather_predictions: the scores of a split, each video once over all ranks, in list order.

Axes: B videos, V views, K classes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tsn_tsm_plugin import distributed


@dataclass
class Predictions:
    """Scores of a model for each video of a split.

    Attributes:
        video_index: (B,) int64, index of each video in the list file; ascending, without repeats.
        video_name: B paths as the list file gives them.
        label: (B,) int64, or (B, K) of 0 and 1 for videos with several labels.
        scores: (B, K) averaged over the views.
        view_logits: (B, V, K) before any averaging.
    """

    video_index: Tensor
    video_name: list[str]
    label: Tensor
    scores: Tensor
    view_logits: Tensor

    def __len__(self) -> int:
        return len(self.video_name)

    @property
    def top1(self) -> Tensor:
        """The class with the highest score of each video, (B,); the lowest class if scores are equal."""
        # argmax does not specify which of equal maxima it returns.
        last = self.scores.shape[1] - 1
        class_K = torch.arange(last + 1, dtype=torch.int32, device=self.scores.device)
        is_highest_BK = self.scores == self.scores.amax(dim=1, keepdim=True)
        return class_K.where(is_highest_BK, last).amin(dim=1).long()


def gather_predictions(batches: list[Predictions]) -> Predictions | None:
    """Join the batches of all ranks; every rank must call this function.

    A repeated video (of a sampler that pads its last batch) is kept once.

    Args:
        batches: The batches of this rank, possibly none.

    Returns:
        Predictions sorted by ``video_index`` on every rank, or ``None`` if no rank has a video.
    """
    columns = [vars(batch) for batch in batches]
    gathered = [
        part for parts in distributed.all_gather_object(columns) for part in parts if part["video_name"]
    ]
    if not gathered:
        return None
    index = torch.cat([part["video_index"] for part in gathered])
    order: list[int] = []
    for position in index.argsort(stable=True).tolist():
        if not order or index[order[-1]] != index[position]:
            order.append(position)
    names: list[Any] = [name for part in gathered for name in part["video_name"]]
    tensors = {
        key: torch.cat([part[key] for part in gathered])[order]
        for key in ("video_index", "label", "scores", "view_logits")
    }
    return Predictions(video_name=[names[position] for position in order], **tensors)
