"""collate_clips, multi_hot: join clips to a batch, and list the unreadable videos."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

ClipDict = dict[str, Any]

_NO_VIDEO = torch.empty((0, 3, 0, 0, 0), dtype=torch.uint8)


class BadVideo(NamedTuple):
    """A video that could not be read: its path, its position in the list, and the reason."""

    path: str
    video_index: int
    reason: str


def multi_hot(labels: Sequence[Sequence[int]], *, num_classes: int) -> Tensor:
    """Return float32 (B, K): 1 if a clip has the label, otherwise 0."""
    rows_BK = torch.zeros(len(labels), num_classes)
    for row_K, of_clip in zip(rows_BK, labels, strict=True):
        row_K[list(of_clip)] = 1.0
    return rows_BK


def collate_clips(samples: Sequence[ClipDict | BadVideo], *, multi_label_classes: int = 0) -> dict[str, Any]:
    """Join clip dictionaries to a batch.

    Unreadable videos are not replaced: the batch is smaller by their number, and may be empty.

    Args:
        samples: Clip dictionaries, with videos of one shape and dtype, and ``BadVideo`` entries.
        multi_label_classes: Number of classes K if ``label`` is a tuple of labels; 0 for single labels.

    Returns:
        ``video`` (B, C, T, H, W) of the clips' dtype; ``label`` and ``video_index`` (B,) int64;
        ``video_name``, a list of B strings; ``bad_videos``, the list of unreadable videos. With several
        labels, ``label`` is (B, K) float32: 1 for the labels of the clip, otherwise 0. If all videos are
        unreadable, B is 0 and ``video`` has shape (0, 3, 0, 0, 0).
    """
    clips = [sample for sample in samples if not isinstance(sample, BadVideo)]
    labels = [clip["label"] for clip in clips]
    return {
        "video": torch.stack([clip["video"] for clip in clips]) if clips else _NO_VIDEO,
        "label": (
            multi_hot(labels, num_classes=multi_label_classes)
            if multi_label_classes
            else torch.tensor(labels, dtype=torch.int64)
        ),
        "video_name": [clip["video_name"] for clip in clips],
        "video_index": torch.tensor([clip["video_index"] for clip in clips], dtype=torch.int64),
        "bad_videos": [sample for sample in samples if isinstance(sample, BadVideo)],
    }
