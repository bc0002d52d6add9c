"""WindowStream: apply a network of whole clips to the last frames of a stream.

Axes: C channels, T frames of a view, H rows, W columns, K classes.
"""

from collections import deque

import torch
from torch import Tensor

from tsn_tsm_plugin.inference.preprocessing import Preprocessing
from tsn_tsm_plugin.models.streaming.smoothing import Hysteresis, MeanOfLastFrames
from tsn_tsm_plugin.transforms import segment_indices


class WindowStream:
    """Score a sliding window of preprocessed frames each time the window has moved by one segment.

    The network reads the middle frame of each of T segments of the window. The first windows contain only
    the frames so far.

    Args:
        model: A TSN or a TSM of any shift, (1, 3, T, H, W) float -> (1, K) logits.
        preprocessing: Preprocessing of the model's recipe.
        window_frames: Length of the window in frames that are not skipped; at least T.
        average_windows: Windows whose scores are averaged.
        min_consecutive: Windows in a row that a new class must lead before ``label`` changes.

    Attributes:
        label: (1,) int64, the stable top-1 class; ``None`` before the first frame.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        preprocessing: Preprocessing,
        *,
        window_frames: int,
        average_windows: int = 1,
        min_consecutive: int = 1,
    ) -> None:
        self._model = model
        self._preprocessing = preprocessing
        self._num_segments = preprocessing.num_segments
        self._frames: deque[Tensor] = deque(maxlen=max(window_frames, self._num_segments))
        self._stride = max(1, round(window_frames / self._num_segments))
        self._average = MeanOfLastFrames(average_windows)
        self._hysteresis = Hysteresis(min_consecutive)
        self._num_seen = 0
        self.label: Tensor | None = None

    def __call__(self, pixels_CHW: Tensor) -> Tensor | None:
        """Add a frame, uint8; return logits (K,), or ``None`` until the window has moved by a segment."""
        self._frames.append(pixels_CHW)
        self._num_seen += 1
        if (self._num_seen - 1) % self._stride:
            return None
        indices = segment_indices(len(self._frames), self._num_segments, mode="test").tolist()
        clip_CTHW = torch.stack([self._frames[index] for index in indices], 1)
        video = self._preprocessing.normalize(clip_CTHW[None].to(self._preprocessing.device))
        scores_BK = self._average(self._model(video).float())
        self.label = self._hysteresis(scores_BK)
        return scores_BK[0]

    def reset(self) -> None:
        """Discard all frames, because the source has changed."""
        self._frames.clear()
        self._num_seen = 0
        self._average.reset()
        self._hysteresis.reset()
        self.label = None
