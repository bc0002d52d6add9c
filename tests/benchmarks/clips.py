"""The clips that the benchmarks read: real frames of 10 s, encoded anew as it is wanted."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from support.videos import write_video

X264_DEFAULT = {"gop_size": 250, "b_frames": 3}
SIZES = {"340x256": (340, 256), "short side 320": (424, 320), "720p": (1280, 720)}
NUM_FRAMES = 280


def decoded(source: Path, size: tuple[int, int]) -> tuple[list[np.ndarray], Fraction]:
    """Return the first frames of a video, uint8 RGB (H, W, 3), of size (width, height), and their rate."""
    width, height = size
    with av.open(str(source)) as container:
        stream = container.streams.best("video")
        assert stream is not None
        rate = Fraction(stream.average_rate or 25)
        frames = [
            frame.to_ndarray(format="rgb24", width=width, height=height)
            for frame, _ in zip(container.decode(stream), range(NUM_FRAMES), strict=False)
        ]
    return frames, rate


def distinct(frames: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Yield clips that decoders read like other footage: as it is, mirrored, backwards, and both."""
    mirrored = [np.ascontiguousarray(frame[:, ::-1]) for frame in frames]
    yield from (frames, mirrored, frames[::-1], mirrored[::-1])


def write_clips(sources: list[Path], folder: Path, size: tuple[int, int]) -> list[Path]:
    """Encode four distinct clips of each source as x264 does by default."""
    written = []
    for source in sources:
        frames, rate = decoded(source, size)
        for number, clip in enumerate(distinct(frames)):
            path = folder / f"{source.stem}_{number}.mp4"
            written.append(write_video(path, clip, fps=rate, **X264_DEFAULT))
    return written
