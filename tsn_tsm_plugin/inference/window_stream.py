"""WindowStream: a network that needs whole clips, on the last frames of a stream.

Axes: C channels, T frames of a view, H rows, W columns, K classes.
"""

from collections import deque

import torch
from torch import Tensor

from tsn_tsm_plugin.inference.preprocessing import Preprocessing
from tsn_tsm_plugin.models.streaming.smoothing import Hysteresis, MeanOfLastFrames
from tsn_tsm_plugin.transforms import segment_indices


class WindowStream:
    """Scores a sliding window of prepared frames, once per segment that it moves on.

    The network sees the middle frame of each of T segments of the window. At the beginning the window is
    what has come so far, as for a short video.

    Args:
        model: (1, 3, T, H, W) float -> (1, K) logits; a TSN or a TSM of any shift.
        preprocessing: Of its recipe.
        window_frames: Length of the window, in frames that are looked at; less than T counts as T.
        average_windows: Mean of the scores of so many windows.
        min_consecutive: A new class must be on top of so many windows in a row before ``label`` follows.

    Attributes:
        label: (1,) int64, the class on top, calmed; ``None`` before the first frame.
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
        """Take a frame, uint8; return logits (K,), or ``None`` if the window has not moved on enough."""
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
        """Forget every frame: the source shows something else."""
        self._frames.clear()
        self._num_seen = 0
        self._average.reset()
        self._hysteresis.reset()
        self.label = None
