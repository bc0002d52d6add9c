"""Clips to a batch; unreadable videos travel beside it, named."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

ClipDict = dict[str, Any]

_NO_VIDEO = torch.empty((0, 3, 0, 0, 0), dtype=torch.uint8)


class BadVideo(NamedTuple):
    """A video that could not be read: its path, its position in the list, and why."""

    path: str
    video_index: int
    reason: str


def collate_clips(samples: Sequence[ClipDict | BadVideo]) -> dict[str, Any]:
    """Join clip dictionaries to a batch.

    Unreadable videos are not replaced: the batch is smaller by their number, and may be empty.

    Args:
        samples: Clip dictionaries, whose videos agree in shape and dtype, and ``BadVideo`` in between.

    Returns:
        ``video`` (B, C, T, H, W) of the clips' dtype, ``label`` and ``video_index`` (B,) int64,
        ``video_name`` a list of B strings, ``bad_videos`` the list of unreadable ones. If all were
        unreadable, B is 0 and ``video`` has shape (0, 3, 0, 0, 0).
    """
    clips = [sample for sample in samples if not isinstance(sample, BadVideo)]
    return {
        "video": torch.stack([clip["video"] for clip in clips]) if clips else _NO_VIDEO,
        "label": torch.tensor([clip["label"] for clip in clips], dtype=torch.int64),
        "video_name": [clip["video_name"] for clip in clips],
        "video_index": torch.tensor([clip["video_index"] for clip in clips], dtype=torch.int64),
        "bad_videos": [sample for sample in samples if isinstance(sample, BadVideo)],
    }
