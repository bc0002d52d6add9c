"""LongVideo: compute scores, features and an annotated copy of a video in sliding windows.

Axes: W windows, T frames of a window, C features, K classes.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tsn_tsm_plugin.atomic_files import replace_when_whole
from tsn_tsm_plugin.data.reader import DEFAULT_FPS
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.inference.export.sidecar_json import sidecar_json_path
from tsn_tsm_plugin.inference.feature_writer import FeatureFile
from tsn_tsm_plugin.inference.preprocessing import check_takes_frames
from tsn_tsm_plugin.inference.sliding_windows import Window, run_windows, sliding_windows
from tsn_tsm_plugin.inference.trained_model import TrainedModel
from tsn_tsm_plugin.runs.progress import with_bar
from tsn_tsm_plugin.visualization.annotate_video import ScoreTimeline, annotate_video


class LongVideo:
    """A video in sliding windows; only the scores of each window are kept.

    Args:
        trained: The network.
        path: The video, a file or a folder of frames.
        window: Length of a window, in seconds; 0: the whole video.
        stride: Distance between two windows, in seconds; at least one frame.

    Raises:
        VideoError: If the video cannot be read.
    """

    def __init__(self, trained: TrainedModel, path: str, *, window: float = 4.0, stride: float = 0.5) -> None:
        check_takes_frames(trained.cfg, "Classifying windows")
        with trained.preprocessing.open_frames(path) as reader:
            self.num_frames = reader.num_frames
            self.fps = reader.fps or DEFAULT_FPS
        self.trained = trained
        self.path = path
        length = max(1, round(window * self.fps)) if window > 0 else self.num_frames
        step = max(1, round(stride * self.fps))
        self.bounds = sliding_windows(self.num_frames, length=length, stride=step)

    def score(self, *, features: Path | None = None, of: str = "clip") -> ScoreTimeline:
        """Run the network over the video, and write features.

        Args:
            features: ``OUT.npy`` for float32 features. The frames of each window are written to ``OUT.json``
                or ``OUT.npy.json``, see
                :func:`~tsn_tsm_plugin.inference.export.sidecar_json.sidecar_json_path`. Both files appear
                when complete.
            of: ``"clip"``: (W, C), the mean over the frames of each window; ``"frame"``: (W, T, C).

        Returns:
            The class probabilities over time.

        Raises:
            ValueError: If ``of`` is unknown.
            RunFolderError: If the features cannot be written.
            VideoError: If no window of the video can be decoded.
        """
        if of not in ("clip", "frame"):
            raise ValueError(f"of must be 'clip' or 'frame', got {of!r}.")
        if features is None:
            return _course(self._windows(), self.trained, self.path)
        with (
            replace_when_whole(sidecar_json_path(features)) as unfinished,
            FeatureFile(features) as file,
        ):
            described: list[dict[str, Any]] = []

            def note(windows: Iterable[Window]) -> Iterator[Window]:
                for window in windows:
                    file.append((window.features.mean(0) if of == "clip" else window.features).numpy())
                    described.append({"start": window.start, "stop": window.stop, "frames": window.indices})
                    yield window

            course = _course(note(self._windows()), self.trained, self.path)
            facts = {"file": features.name, "video": self.path, "fps": self.fps, "windows": described}
            unfinished.write_text(json.dumps(facts, indent=1), encoding="utf-8")
        return course

    def _windows(self) -> Iterable[Window]:
        found = run_windows(self.trained, self.path, self.bounds)
        return with_bar(found, "windows", total=len(self.bounds), shown=True)

    def annotate(self, course: ScoreTimeline, out: Path) -> None:
        """Write the video with its scores, see :mod:`~tsn_tsm_plugin.visualization.annotate_video`."""
        frames = annotate_video(
            self.path,
            course,
            out,
            names=self.trained.class_names,
            fps=self.fps,
            num_frames=self.num_frames,
            frame_names=self.trained.preprocessing.frame_names,
        )
        with contextlib.closing(frames):
            for _ in with_bar(frames, "annotate", total=self.num_frames, shown=True):
                pass


def _course(windows: Iterable[Window], trained: TrainedModel, path: str) -> ScoreTimeline:
    frame_times: list[float] = []
    probabilities: list[np.ndarray] = []
    for window in windows:
        frame_times.append((window.start + window.stop - 1) / 2)
        probabilities.append(trained.probabilities(window.logits).numpy())
    if not frame_times:
        raise VideoError(f"{path}: no window of it could be decoded whole.")
    return ScoreTimeline(np.array(frame_times), np.stack(probabilities))
