"""LiveClassifier, WindowStream, LiveOverlay: classify a live source of frames and draw the scores.

Axes: C channels, T frames of a view, H rows, W columns, K classes.
"""

import time
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsn_tsm_plugin.data.frame_stream import StreamedFrame
from tsn_tsm_plugin.data.reader import DEFAULT_FPS
from tsn_tsm_plugin.inference.preprocessing import Preprocessing
from tsn_tsm_plugin.inference.trained_model import TrainedModel
from tsn_tsm_plugin.models import StreamingTSM
from tsn_tsm_plugin.models.streaming.smoothing import Hysteresis, MeanOfLastFrames
from tsn_tsm_plugin.transforms import segment_indices
from tsn_tsm_plugin.visualization.drawing import SERIES, Colour
from tsn_tsm_plugin.visualization.score_overlay import ScoreOverlay

# Weight of the last frame in the running frame rate.
_RATE_WEIGHT = 0.1
_AVERAGE_FRAMES = 8
_TIMELINE_SECONDS = 10.0


@dataclass(frozen=True)
class LiveScores:
    """Scores of the network at a frame.

    Attributes:
        index: Number of the frame.
        seconds: Time since the first frame; -1.0 if the source has no timestamps.
        label: The class, held for ``min_consecutive`` frames.
        probabilities: (K,) probabilities of the classes.
        latency_ms: Time from the decoded frame to its scores, in milliseconds.
        fps: Processed frames per second, a running mean.
    """

    index: int
    seconds: float
    label: int
    probabilities: Tensor
    latency_ms: float
    fps: float


class LiveClassifier:
    """Score frames one by one.

    A frame of another size resets the stream: the source has changed.

    Args:
        trained: The network. A causal TSM runs frame by frame; any other network on a sliding window.
        average_frames: Frames or windows whose scores are averaged; ``None``: 8 frames or 1 window.
        min_consecutive: Frames or windows that a class must lead before ``label`` changes.
        frame_interval: Use every N-th frame, to match the frame spacing of training.
        window_frames: Length of a sliding window, in frames of the source.

    Attributes:
        latencies_ms: Latencies of the last thousand processed frames, in milliseconds.
    """

    def __init__(
        self,
        trained: TrainedModel,
        *,
        average_frames: int | None = None,
        min_consecutive: int = 2,
        frame_interval: int = 1,
        window_frames: int = 100,
    ) -> None:
        self._trained = trained
        self._stream: WindowStream | _FrameByFrame
        try:
            self._stream = _FrameByFrame(trained, average_frames or _AVERAGE_FRAMES, min_consecutive)
        except (TypeError, ValueError):
            self._stream = WindowStream(
                trained.model,
                trained.preprocessing,
                window_frames=max(1, round(window_frames / frame_interval)),
                average_windows=average_frames or 1,
                min_consecutive=min_consecutive,
            )
        self._preprocessing = trained.preprocessing
        self._frame_interval = frame_interval
        self._size: tuple[int, ...] = ()
        self._since = 0.0
        self._seconds_per_frame = 0.0
        self.num_scored = 0
        self.latencies_ms: deque[float] = deque(maxlen=1000)

    @torch.inference_mode()
    def __call__(self, frame: StreamedFrame) -> LiveScores | None:
        """Score a frame; return ``None`` if the frame is skipped."""
        if frame.index % self._frame_interval:
            return None
        begun = time.perf_counter()
        if frame.rgb.shape != self._size:
            self._stream.reset()
            self._size = frame.rgb.shape
        logits_K = self._stream(self._preprocessing.prepare_frame(torch.from_numpy(frame.rgb)))
        if logits_K is None:
            return None
        # Reading the scores synchronises with the device.
        probabilities = self._trained.probabilities(logits_K.float()).cpu()
        assert self._stream.label is not None
        label = int(self._stream.label[0])
        now = time.perf_counter()
        self.latencies_ms.append(1000 * (now - begun))
        self.num_scored += 1
        return LiveScores(
            frame.index, frame.seconds, label, probabilities, self.latencies_ms[-1], self._rate(now)
        )

    def _rate(self, now: float) -> float:
        gap, self._since = now - self._since, now
        if self.num_scored == 1:
            return 0.0
        first = self.num_scored == 2
        weight = 1.0 if first else _RATE_WEIGHT
        self._seconds_per_frame += weight * (gap - self._seconds_per_frame)
        return 1.0 / max(self._seconds_per_frame, 1e-9)


class _FrameByFrame:
    """An online TSM on prepared frames. A network that needs whole clips is refused."""

    def __init__(self, trained: TrainedModel, average_frames: int, min_consecutive: int) -> None:
        stream = StreamingTSM(trained.model, average_frames=average_frames, min_consecutive=min_consecutive)
        self._stream = stream.to(trained.device)
        self._preprocessing = trained.preprocessing

    def __call__(self, pixels_CHW: Tensor) -> Tensor | None:
        frames = pixels_CHW[None, :, None].to(self._preprocessing.device)
        logits: Tensor = self._stream(self._preprocessing.normalize(frames)[:, :, 0])[0]
        return logits

    @property
    def label(self) -> Tensor | None:
        return self._stream.label

    def reset(self) -> None:
        self._stream.reset()


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
        average_windows: int,
        min_consecutive: int,
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


class LiveOverlay:
    """Draw frames with their scores and a timeline of the last seconds.

    Args:
        class_names: Names of the K classes.
        fps: Frames per second of the source.
    """

    def __init__(self, class_names: list[str], *, fps: float) -> None:
        self._class_names = class_names
        self._fps = fps or DEFAULT_FPS
        self._overlay: ScoreOverlay | None = None
        self._past: deque[tuple[float, np.ndarray]] = deque(maxlen=round(_TIMELINE_SECONDS * self._fps) + 2)
        self._colours: dict[int, Colour] = {}

    def draw(self, frame: StreamedFrame, scores: LiveScores) -> np.ndarray:
        """Return the picture, uint8 RGB; all pictures have the size of the first picture."""
        if self._overlay is None:
            height, width = frame.rgb.shape[:2]
            self._overlay = ScoreOverlay(self._class_names, width=width, height=height)
        now = frame.index / self._fps
        probabilities = scores.probabilities.numpy()
        self._past.append((now, probabilities))
        self._recolour()
        begin = max(0.0, now - _TIMELINE_SECONDS)
        strip = self._overlay.timeline(
            np.array([moment for moment, _ in self._past]),
            np.stack([past for _, past in self._past]),
            self._colours,
            begin=begin,
            end=max(now, begin + _TIMELINE_SECONDS),
        )
        note = f"{scores.latency_ms:.1f} ms   {scores.fps:.0f} fps"
        return self._overlay.draw(frame.rgb, probabilities, self._colours, strip, note=note)

    def _recolour(self) -> None:
        """Assign a colour to the most likely classes; a class keeps its colour while it is shown."""
        peaks = np.stack([past for _, past in self._past]).max(0)
        shown = np.argsort(-peaks, kind="stable")[: len(SERIES)].tolist()
        kept = {label: colour for label, colour in self._colours.items() if label in shown}
        free = [colour for colour in SERIES if colour not in kept.values()]
        fresh = [label for label in shown if label not in kept]
        self._colours = {**kept, **dict(zip(fresh, free, strict=False))} if fresh else kept
