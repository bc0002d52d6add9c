"""sliding_windows, run_windows, LongVideo: scores and features of a video per window, in constant memory.

Axes: W windows, T frames of a window, C channels or features, H rows, W columns, K classes.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsn_tsm_plugin.atomic_files import HINT_FILE, write_atomically
from tsn_tsm_plugin.data.frame_stream import iterate_frames, open_source
from tsn_tsm_plugin.data.reader import DEFAULT_FPS
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.inference.export.sidecar_json import sidecar_json_path
from tsn_tsm_plugin.inference.preprocessing import check_takes_frames
from tsn_tsm_plugin.inference.trained_model import TrainedModel, frame_features
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.runs.progress import with_bar
from tsn_tsm_plugin.transforms import segment_indices
from tsn_tsm_plugin.visualization.annotate_video import ScoreTimeline, annotate_video

logger = get_logger(__name__)

# Windows per forward pass.
_BATCH = 4


class Window(NamedTuple):
    """Outputs of a network for the frames ``[start, stop)`` of a video.

    Attributes:
        start: First frame.
        stop: One past the last frame.
        indices: The T frames that the network read.
        logits: (K,) scores before the softmax.
        features: (T, C) features of these frames, averaged over space.
    """

    start: int
    stop: int
    indices: list[int]
    logits: Tensor
    features: Tensor


def sliding_windows(num_frames: int, *, length: int, stride: int) -> list[tuple[int, int]]:
    """Return ``[start, stop)`` of windows over ``num_frames`` frames.

    All windows are ``length`` long. The last window ends with the video, so its overlap may be larger.
    A video shorter than ``length`` is one window.

    ::

        num_frames=10, length=4, stride=4    0123 4567 6789    -> (0, 4) (4, 8) (6, 10)

    All numbers are at least 1.
    """
    if num_frames <= length:
        return [(0, num_frames)]
    starts = list(range(0, num_frames - length + 1, stride))
    if starts[-1] + length < num_frames:
        starts.append(num_frames - length)
    return [(start, start + length) for start in starts]


def run_windows(trained: TrainedModel, path: str, windows: list[tuple[int, int]]) -> Iterator[Window]:
    """Decode a video once and yield the outputs of each window, in order.

    Only frames that a later window needs are kept in memory.

    Args:
        trained: The network. It reads the middle frame of each segment of a window.
        path: The video, a file or a folder of frames.
        windows: Result of :func:`sliding_windows`, in order of their start.
    """
    num_segments = trained.preprocessing.num_segments
    looks = [
        [start + i for i in segment_indices(stop - start, num_segments, mode="test").tolist()]
        for start, stop in windows
    ]
    prepare = trained.preprocessing.prepare_frame
    kept: dict[int, Tensor] = {}
    wanted = {index for indices in looks for index in indices}
    done = ready = 0
    with open_source(f"file:{path}", frame_names=trained.preprocessing.frame_names) as opened:
        for frame in iterate_frames(opened, lambda text: logger.warning(f"{path}: {text}")):
            if frame.index in wanted:
                kept[frame.index] = prepare(torch.from_numpy(frame.rgb))
            while ready < len(looks) and looks[ready][-1] <= frame.index:
                ready += 1
            if ready - done >= _BATCH or done < ready == len(looks):
                yield from _run(trained, windows[done:ready], looks[done:ready], kept)
                done = ready
                needed_from = looks[done][0] if done < len(looks) else frame.index + 1
                kept = {index: image for index, image in kept.items() if index >= needed_from}
            if done == len(looks):
                return
    logger.warning(f"{path}: ended early, {len(looks) - done} of {len(looks)} windows are skipped.")


@torch.inference_mode()
def _run(
    trained: TrainedModel, windows: list[tuple[int, int]], looks: list[list[int]], kept: dict[int, Tensor]
) -> Iterator[Window]:
    clips = torch.stack([torch.stack([kept[i] for i in indices], 1) for indices in looks])
    video = trained.preprocessing.normalize(clips.to(trained.device))
    features = frame_features(trained.model, video)
    logits = trained.model.get_submodule("head")(features).float().cpu()
    features_BTC = features.mean((3, 4)).transpose(1, 2).float().cpu()
    for (start, stop), indices, scores, vectors in zip(windows, looks, logits, features_BTC, strict=True):
        yield Window(start, stop, indices, scores, vectors)


@contextlib.contextmanager
def feature_file(path: Path) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that appends rows to a float32 ``.npy`` file; an hour of rows may not fit in memory.

    All rows have one shape. The file appears at the end of the block; if the block raises, an older file is
    kept.

    Args:
        path: Path of the ``.npy`` file.

    Raises:
        RunFolderError: If the disk is full or the folder cannot be written.
    """
    shape: tuple[int, ...] = ()
    with write_atomically(path, binary=True, hint=HINT_FILE) as file:

        def write_header() -> None:
            file.seek(0)  # NumPy's header has space for any number of rows.
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)

        def append(row: np.ndarray) -> None:
            nonlocal shape
            if not shape:
                shape = (0, *row.shape)
                write_header()
            assert row.shape == shape[1:]
            shape = (shape[0] + 1, *row.shape)
            file.write(np.ascontiguousarray(row, dtype="<f4").tobytes())

        yield append
        write_header()


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
            RunFolderError: If the features cannot be written.
            VideoError: If no window of the video can be decoded.
        """
        windows = run_windows(self.trained, self.path, self.bounds)
        windows = iter(with_bar(windows, "windows", total=len(self.bounds), shown=True))
        if features is None:
            return self._course(windows)
        sidecar = write_atomically(sidecar_json_path(features), hint=HINT_FILE)
        with sidecar as described, feature_file(features) as append:
            noted: list[dict[str, Any]] = []

            def note(windows: Iterable[Window]) -> Iterator[Window]:
                for window in windows:
                    append((window.features.mean(0) if of == "clip" else window.features).numpy())
                    noted.append({"start": window.start, "stop": window.stop, "frames": window.indices})
                    yield window

            course = self._course(note(windows))
            facts = {"file": features.name, "video": self.path, "fps": self.fps, "windows": noted}
            described.write(json.dumps(facts, indent=1))
            described.flush()  # A full disk is found before either file is replaced.
        return course

    def _course(self, windows: Iterable[Window]) -> ScoreTimeline:
        moments = [
            ((window.start + window.stop - 1) / 2, self.trained.probabilities(window.logits).numpy())
            for window in windows
        ]
        if not moments:
            raise VideoError(f"{self.path}: no window of it could be decoded whole.")
        frame_times, probabilities = zip(*moments, strict=True)
        return ScoreTimeline(np.array(frame_times), np.stack(probabilities))

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
