"""RgbCollector, converted, Orientation: convert decoded frames to one RGB tensor of upright frames.

Phones store frames in sensor orientation, with a display matrix in the container. FFmpeg's programs, OpenCV
and decord apply the matrix; FFmpeg's decoders only attach it to every frame. Axes: T frames, C channels,
H rows, W columns.
"""

import math
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import torch
from av import FFmpegError, VideoFrame
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import VideoReformatter
from torch import Tensor

from tsn_tsm_plugin.data.decoders.container import MAX_FRAME_PIXELS, check_read_size
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.transforms.resize import short_side_size

_SLACK = math.sin(math.radians(2))

Matrix = tuple[int, int, int, int]
"""``(a, b, c, d)`` in units of 1 / 65536: the pixel at column x, row y is shown at (ax + cy, bx + dy)."""


class Orientation(NamedTuple):
    """Rotation of the frames of a file.

    Attributes:
        quarter_turns: Quarter turns counter-clockwise, 0 to 3.
        remark: Sentence about display settings of the file that are ignored; usually empty.
    """

    quarter_turns: int = 0
    remark: str = ""


AS_CODED = Orientation()


def matrix_of(frame: VideoFrame) -> Matrix | None:
    """Return the display matrix without its offsets; None if the frame has no matrix."""
    # Avoid frame.side_data: frame and side data would reference each other. The frame would then live longer,
    # and the decoder would need other memory.
    list_side_data: Any = SideDataContainer
    try:
        data = list_side_data(frame).get("DISPLAYMATRIX")
    except ValueError:  # PyAV lists side data only if it has a name for every kind.
        return _rotation_matrix(frame.rotation) if frame.rotation else None
    if data is None:
        return None
    a, b, _, c, d = struct.unpack_from("=5i", bytes(data))
    return a, b, c, d


def _rotation_matrix(degrees: float) -> Matrix:
    cosine, sine = (round(65536 * part(math.radians(degrees))) for part in (math.cos, math.sin))
    return cosine, -sine, sine, cosine


def _orientation(matrix: Matrix) -> Orientation:
    a, b, c, d = matrix
    if max(abs(b), abs(c)) <= _SLACK * min(abs(a), abs(d)) and a * d > 0:
        return Orientation(0 if a > 0 else 2)
    if max(abs(a), abs(d)) <= _SLACK * min(abs(b), abs(c)) and b * c < 0:
        return Orientation(1 if c > 0 else 3)
    if not any(matrix):
        return AS_CODED
    return Orientation(
        remark="its display matrix mirrors the frames or is not a multiple of 90 degrees; it is "
        "ignored. 'ffmpeg -i OLD NEW' applies it to the frames"
    )


def orientation_of(frames: Iterator[VideoFrame]) -> tuple[Orientation, Iterator[VideoFrame]]:
    """Determine the orientation of all frames from the first frames.

    The container's matrix comes with every frame. A matrix in the coded stream (H.264's and HEVC's display
    orientation) comes with keyframes only. It is ignored, as in torchcodec and decord.

    Args:
        frames: Frames of a file from its start; one or two are consumed.

    Returns:
        The orientation, and all of the frames again.
    """
    head = list(islice(frames, 1))
    matrix = matrix_of(head[0]) if head else None
    if matrix is None:
        return AS_CODED, chain(head, frames)
    head += islice(frames, 1)
    if matrix_of(head[-1]) != matrix:
        return Orientation(remark="only some of its frames carry a display matrix; it is ignored"), chain(
            head, frames
        )
    return _orientation(matrix), chain(head, frames)


def shown_size(height: int, width: int, quarter_turns: int) -> tuple[int, int]:
    """Return height and width after the rotation."""
    return (width, height) if quarter_turns % 2 else (height, width)


def upright(rgb_HWC: np.ndarray, quarter_turns: int) -> np.ndarray:
    """Rotate uint8 RGB counter-clockwise: a contiguous copy, or the array itself for 0 quarter turns."""
    if not quarter_turns:
        return rgb_HWC
    # Whole pixels are copied twice as fast as bytes.
    return np.ascontiguousarray(np.rot90(rgb_HWC.view("V3"), quarter_turns)).view(np.uint8)


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Return height and width after `ShortSideScale`; unchanged if ``short_side`` is 0."""
    return short_side_size(height, width, short_side=short_side) if short_side else (height, width)


def converted(
    reformatter: VideoReformatter,
    frame: VideoFrame,
    width: int,
    height: int,
    pixel_format: str,
    *,
    interpolation: str | None,
    name: str,
) -> VideoFrame:
    """Convert a frame with FFmpeg's software scaler.

    Args:
        reformatter: PyAV's scaler, which keeps its tables between frames.
        frame: A decoded frame.
        width: Columns of the result, in pixels.
        height: Rows of the result, in pixels.
        pixel_format: FFmpeg's name of the pixel format.
        interpolation: PyAV's name of the interpolation; None: the scaler's default.
        name: Video and frame, for messages.

    Raises:
        VideoError: If the scaler does not support the colours.
    """
    try:
        # One thread: the scaler's threads do not survive a fork.
        return reformatter.reformat(
            frame, width, height, pixel_format, interpolation=interpolation, threads=1
        )
    except (OSError, ValueError, FFmpegError) as error:
        raise VideoError(
            f"{name} cannot be converted to {pixel_format}: FFmpeg's scaler does not know its colours "
            f"({frame.format.name}, matrix coefficients {int(frame.colorspace)}). Re-encode the video with "
            "-vf colorspace or zscale, or remove it from the list."
        ) from error


class RgbCollector:
    """Convert frames with FFmpeg's software scaler, as ``frame.to_ndarray(format="rgb24")`` does.

    Frames are rotated upright after the conversion.

    Args:
        path: The video, for messages.
        indices: Frames to collect, in any order, repeats allowed.
        reformatter: PyAV's scaler, which keeps its tables between reads.
        short_side: Short side of the frames, in pixels, scaled in the conversion; 0 keeps the size.

    Attributes:
        missing: Requested frames that have not been collected yet.
    """

    def __init__(
        self, path: str, indices: Sequence[int], reformatter: VideoReformatter, *, short_side: int
    ) -> None:
        self._path = path
        self._reformatter = reformatter
        self._short_side = short_side
        self._positions: defaultdict[int, list[int]] = defaultdict(list)
        for position, index in enumerate(indices):
            self._positions[index].append(position)
        self._num_positions = len(indices)
        self.missing = set(self._positions)
        self._frames_THWC: np.ndarray | None = None

    def add(self, index: int, frame: VideoFrame, quarter_turns: int) -> None:
        """Collect a frame of ``missing``, and rotate it.

        Raises:
            VideoError: If the frame's size differs from the earlier frames.
        """
        height, width = scaled_size(frame.height, frame.width, self._short_side)
        shape = (*shown_size(height, width, quarter_turns), 3)
        if self._frames_THWC is None:
            if max(frame.height * frame.width, height * width) > MAX_FRAME_PIXELS:
                raise VideoError(f"{self._name(index)} has {frame.width}x{frame.height} pixels: damaged.")
            check_read_size(self._path, self._num_positions, shape[0], shape[1])
            self._frames_THWC = np.empty((self._num_positions, *shape), np.uint8)
        elif self._frames_THWC.shape[1:] != shape:
            others = self._frames_THWC.shape
            raise VideoError(
                f"{self._name(index)} is {shape[1]}x{shape[0]}, others are {others[2]}x{others[1]}. "
                "Frames of one read must have one size: re-encode the video to one size."
            )
        rgb = converted(
            self._reformatter, frame, width, height, "rgb24", interpolation="BILINEAR", name=self._name(index)
        )
        rgb_HWC = upright(rgb.to_ndarray(), quarter_turns)
        for position in self._positions[index]:
            self._frames_THWC[position] = rgb_HWC
        self.missing.remove(index)

    def _name(self, index: int) -> str:
        return f"{self._path}: frame {index}"

    def tensor(self) -> Tensor:
        """Return the collected frames, uint8 RGB (T, C, H, W), stored as (T, H, W, C)."""
        assert self._frames_THWC is not None and not self.missing
        return torch.from_numpy(self._frames_THWC).permute(0, 3, 1, 2)
