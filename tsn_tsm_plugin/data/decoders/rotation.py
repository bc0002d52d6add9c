"""Orientation: rotation of frames by the display matrix of their file.

Phones store frames in sensor orientation, with a display matrix in the container. FFmpeg's programs, OpenCV
and decord apply the matrix; FFmpeg's decoders only attach it to every frame. Axes: H rows, W columns.
"""

import math
import struct
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
from av import VideoFrame
from av.sidedata.sidedata import SideDataContainer

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
