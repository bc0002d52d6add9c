"""ScoreTimeline, annotate_video: a copy of a video with its scores over time.

Axes: N points in time, K classes.
"""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tsn_tsm_plugin.atomic_files import check_are_no_inputs
from tsn_tsm_plugin.data.frame_folder import USUAL_NAMES, FrameNames
from tsn_tsm_plugin.data.frame_stream import iterate_frames, open_source
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.visualization.drawing import clock
from tsn_tsm_plugin.visualization.score_overlay import ScoreOverlay, colours_of
from tsn_tsm_plugin.visualization.video_writer import VideoWriter

logger = get_logger(__name__)


class ScoreTimeline(NamedTuple):
    """Class probabilities over the time of a video.

    Attributes:
        frame_times: (N,), increasing frame numbers; fractions lie between two frames.
        probabilities: (N, K).
    """

    frame_times: np.ndarray
    probabilities: np.ndarray

    def at(self, frames: np.ndarray) -> np.ndarray:
        """Return (F, K) at F frames: interpolated between the frame times, and constant outside."""
        last = len(self.frame_times) - 1
        right = np.searchsorted(self.frame_times, frames).clip(min(1, last), last)
        left = np.maximum(right - 1, 0)
        gap = np.maximum(self.frame_times[right] - self.frame_times[left], 1e-9)
        share = ((frames - self.frame_times[left]) / gap).clip(0.0, 1.0)[:, None]
        return (1 - share) * self.probabilities[left] + share * self.probabilities[right]


def annotate_video(
    path: str,
    course: ScoreTimeline,
    out: str | Path,
    *,
    names: Sequence[str],
    fps: float,
    num_frames: int,
    frame_names: FrameNames = USUAL_NAMES,
) -> Generator[int, None, None]:
    """Write a copy of a video with the most likely classes and their timeline.

    Args:
        path: The video.
        course: Scores of the video over time.
        out: The file to write.
        names: Names of the classes.
        fps: Frames per second of the video.
        num_frames: Frames of the video.
        frame_names: Usual names of the frames of a folder.

    Yields:
        The number of each finished frame. The file appears when the generator ends; closing it earlier
        writes nothing.

    Raises:
        ConfigError: If ``out`` is the video itself.
    """
    check_are_no_inputs([out], [path])
    colours = colours_of(course.probabilities)
    last = max(num_frames - 1, 1)
    drawn = np.unique(np.concatenate([[0.0], course.frame_times.clip(0, last), [last]]))
    with (
        open_source(f"file:{path}", frame_names=frame_names) as opened,
        VideoWriter(out, fps=fps) as writer,
    ):
        overlay = strip = None
        for frame in iterate_frames(opened, lambda text: logger.warning(f"{path}: {text}")):
            if overlay is None or strip is None:
                height, width = frame.rgb.shape[:2]
                overlay = ScoreOverlay(names, width=width, height=height)
                strip = overlay.timeline(drawn / fps, course.at(drawn), colours, begin=0.0, end=last / fps)
            now = frame.index / fps
            shown = overlay.with_playhead(
                strip, overlay.x_of(now, 0.0, last / fps), label=clock(now, length=last / fps)
            )
            probabilities = course.at(np.array([float(frame.index)]))[0]
            writer.write(overlay.draw(frame.rgb, probabilities, colours, shown))
            yield frame.index
