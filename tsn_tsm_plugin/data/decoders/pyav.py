"""Exact frames through PyAV, whose wheel carries FFmpeg: the default decoder.

Axes: T frames, C channels, H rows, W columns.
"""

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
import torch
from torch import Tensor

from tsn_tsm_plugin.errors import VideoError


class PyAVDecoder:
    """Reads frames by index, counted over a decode of the whole file from its start.

    Args:
        path: A file that FFmpeg can read.
        num_threads: Threads of the decoder.
    """

    def __init__(self, path: str | os.PathLike[str], *, num_threads: int = 1) -> None:
        self.path = os.fspath(path)
        self.num_threads = num_threads
        self.num_frames = 0
        with self._open() as container:
            stream = container.streams.best("video")
            if stream is None:
                raise VideoError(f"{self.path}: holds no video stream. Remove it from the list.")
            self.fps = float(stream.average_rate or stream.guessed_rate or 0)
            self.width, self.height = stream.codec_context.width, stream.codec_context.height
            self.num_frames = sum(1 for _ in self._decode(container))
        if self.num_frames == 0:
            raise VideoError(f"{self.path}: holds no decodable frame. Remove it from the list.")

    def _open(self) -> av.container.InputContainer:
        try:
            return av.open(f"file:{self.path}")
        except (OSError, av.FFmpegError) as error:
            raise VideoError(
                f"{self.path}: cannot be opened as a video ({error}). Check the file or unlist it."
            ) from error

    def _decode(self, container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = self.num_threads
        try:
            yield from container.decode(stream)
        except av.FFmpegError as error:
            raise VideoError(f"{self.path}: is damaged ({error}). Fetch it again or re-encode it.") from error

    def read(self, indices: Sequence[int]) -> Tensor:
        """Decode the frames at ``indices``, 0-based, any order, repeats allowed; uint8 RGB (T, C, H, W)."""
        wanted = set(indices)
        rgb: dict[int, np.ndarray] = {}
        with self._open() as container:
            for index, frame in enumerate(self._decode(container)):
                if index in wanted:
                    rgb[index] = frame.to_ndarray(format="rgb24")
                    if len(rgb) == len(wanted):
                        break
        frames = np.stack([rgb[index] for index in indices])
        return torch.from_numpy(frames).permute(0, 3, 1, 2)

    @property
    def duration(self) -> float:
        """Seconds, from the number of frames and their rate."""
        return float(Fraction(self.num_frames) / Fraction(self.fps)) if self.fps else 0.0

    def close(self) -> None:
        """Release what is held; reading again opens the file again."""
