"""A video of any length in sliding windows: its scores, its features, and its annotated copy.

Axes: W windows, T frames of a window, C features, K classes.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.engine.annotate import Course, annotate_video
from tsn_tsm_plugin.engine.progress import with_bar
from tsn_tsm_plugin.engine.trained import TrainedModel
from tsn_tsm_plugin.engine.windows import run_windows, sliding_windows

# Where a file tells no rate.
_FPS = 25.0


class LongVideo:
    """A video in sliding windows; of each only the scores are kept.

    Args:
        trained: The network.
        path: The video.
        window: Seconds of a window; 0 is the whole video.
        stride: Seconds from one window to the next; at least one frame.

    Raises:
        VideoError: If the video cannot be read.
    """

    def __init__(self, trained: TrainedModel, path: str, *, window: float = 4.0, stride: float = 0.5) -> None:
        with VideoReader(path) as reader:
            self.num_frames = reader.num_frames
            self.fps = reader.fps or _FPS
        self.trained = trained
        self.path = path
        length = max(1, round(window * self.fps)) if window > 0 else self.num_frames
        step = max(1, round(stride * self.fps))
        self.bounds = sliding_windows(self.num_frames, length=length, stride=step)

    def score(self, *, features: Path | None = None, of: str = "clip") -> Course:
        """Run the network over the video, and write features on the way.

        Args:
            features: ``OUT.npy`` for float32 features; ``OUT.json`` gets the frames of each window.
            of: ``"clip"``: (W, C), the mean over the frames of each window; ``"frame"``: (W, T, C).

        Returns:
            The class probabilities over time.

        Raises:
            ValueError: On another word.
        """
        if of not in ("clip", "frame"):
            raise ValueError(f"of must be 'clip' or 'frame', got {of!r}.")
        rows: np.ndarray | None = None
        described: list[dict[str, Any]] = []
        moments: list[float] = []
        probabilities: list[np.ndarray] = []
        found = run_windows(self.trained, self.path, self.bounds)
        for place, window in enumerate(with_bar(found, "windows", total=len(self.bounds), shown=True)):
            moments.append((window.start + window.stop - 1) / 2)
            probabilities.append(self.trained.probabilities(window.logits).numpy())
            if features is not None:
                row = (window.features.mean(0) if of == "clip" else window.features).numpy()
                if rows is None:
                    shape = (len(self.bounds), *row.shape)
                    # On the disk: an hour of them may not fit into memory.
                    rows = np.lib.format.open_memmap(features, mode="w+", dtype=np.float32, shape=shape)
                rows[place] = row
                described.append({"start": window.start, "stop": window.stop, "frames": window.indices})
        if features is not None:
            text = json.dumps({"video": self.path, "fps": self.fps, "windows": described}, indent=1)
            features.with_suffix(".json").write_text(text, encoding="utf-8")
        return Course(np.array(moments), np.stack(probabilities))

    def annotate(self, course: Course, out: Path) -> None:
        """Write the video with its scores, see :func:`~tsn_tsm_plugin.engine.annotate.annotate_video`."""
        frames = annotate_video(
            self.path, course, out, names=self.trained.class_names, fps=self.fps, num_frames=self.num_frames
        )
        for _ in with_bar(frames, "annotate", total=self.num_frames, shown=True):
            pass
