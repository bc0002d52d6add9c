"""MeanOfLastFrames, Hysteresis: smoothed scores and stable labels of a stream.

Axes: B streams, N frames, K classes. Both modules keep their state per stream, in buffers.
Source: ``online_demo/main.py`` of the TSM reference code. The demo sums the last 12 logits and accepts a new
label when two in a row agree.
"""

import torch
from torch import Tensor

from tsn_tsm_plugin.models.streaming.streaming_shift import PerStream


class _OverFrames(PerStream):
    def __init__(self, num_frames: int) -> None:
        super().__init__()
        if num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, got {num_frames}.")
        self.num_frames = num_frames

    def extra_repr(self) -> str:
        """Return the setting."""
        return f"num_frames={self.num_frames}"


class MeanOfLastFrames(_OverFrames):
    """Average the scores of the last ``num_frames`` frames of each stream, or of fewer after a reset.

    Args:
        num_frames: N; 1 returns each frame's scores.
    """

    _names = ("last_scores", "num_seen")
    last_scores: Tensor | None
    num_seen: Tensor | None

    def forward(self, scores_BK: Tensor) -> Tensor:
        """Map the scores of a frame (B, K) to their running mean (B, K)."""
        if self.last_scores is None or self.num_seen is None:
            self.last_scores = scores_BK.new_zeros(len(scores_BK), self.num_frames, scores_BK.shape[1])
            self.num_seen = torch.zeros(len(scores_BK), dtype=torch.long, device=scores_BK.device)
        self.last_scores = torch.cat([self.last_scores[:, 1:], scores_BK[:, None]], 1)
        self.num_seen = (self.num_seen + 1).clamp(max=self.num_frames)
        return self.last_scores.sum(1) / self.num_seen[:, None]


class Hysteresis(_OverFrames):
    """Change a stream's label only after another class led ``num_frames`` frames in a row.

    The first frame of a stream decides at once. While the top class flickers, the label stays.

    Args:
        num_frames: Frames in a row; 1 follows every frame.
    """

    # Class numbers are stored plus 1, so that zero means "none yet".
    _names = ("held", "candidate", "num_in_row")
    held: Tensor | None
    candidate: Tensor | None
    num_in_row: Tensor | None

    def forward(self, scores_BK: Tensor) -> Tensor:
        """Map scores (B, K) to labels, int64 (B,) in [0, K)."""
        top_B = scores_BK.argmax(1) + 1
        if self.held is None or self.candidate is None or self.num_in_row is None:
            self.held, self.candidate, self.num_in_row = (torch.zeros_like(top_B) for _ in range(3))
        self.num_in_row = torch.where(top_B == self.candidate, self.num_in_row + 1, 1)
        self.candidate = top_B
        is_accepted_B = (self.held == 0) | (self.num_in_row >= self.num_frames)
        self.held = torch.where(is_accepted_B, top_B, self.held)
        return self.held - 1
