"""Turning frames upright, as the display matrix of their file says.

Phones write frames as the sensor gives them, and a matrix into the container that says how to show them.
FFmpeg's programs, OpenCV and decord follow it; FFmpeg's decoders only hang it on every frame. Axes: H rows,
W columns.
"""

import functools
import math
import struct
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
from av import VideoFrame
from av.sidedata.sidedata import SideDataContainer

from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)

_SLACK = math.sin(math.radians(2))

Matrix = tuple[int, int, int, int]
"""``(a, b, c, d)`` in units of 1 / 65536: the pixel at column x, row y is shown at (ax + cy, bx + dy)."""


class Orientation(NamedTuple):
    """How the frames of a file are turned.

    Attributes:
        quarter_turns: Right angles to turn them by, counter-clockwise, 0 to 3.
        remark: What the file asks for and is not done, as a sentence about the file; mostly empty.
    """

    quarter_turns: int = 0
    remark: str = ""


AS_CODED = Orientation()


def matrix_of(frame: VideoFrame) -> Matrix | None:
    """Return the display matrix without its offsets; None where there is none."""
    # Not frame.side_data: the frame and what that gives hold each other, so that the frame outlives its
    # reading and the decoder fills other memory.
    list_side_data: Any = SideDataContainer
    try:
        data = list_side_data(frame).get("DISPLAYMATRIX")
    except ValueError:  # PyAV lists side data only where it has a name for every kind.
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
        remark="its display matrix mirrors the frames or turns them by no right angle; they are left as "
        "coded. 'ffmpeg -i OLD NEW' writes them as they are to be shown"
    )


def orientation_of(frames: Iterator[VideoFrame]) -> tuple[Orientation, Iterator[VideoFrame]]:
    """Learn from the first frames how all are turned.

    The container's matrix comes with every frame. One that lies in the coded stream (H.264's and HEVC's
    display orientation) comes with keyframes only and is not followed, as torchcodec and decord do not.

    Args:
        frames: Of a file, from its start; one or two of them are taken.

    Returns:
        The orientation, and all of the frames again.
    """
    head = list(islice(frames, 1))
    matrix = matrix_of(head[0]) if head else None
    if matrix is None:
        return AS_CODED, chain(head, frames)
    head += islice(frames, 1)
    if matrix_of(head[-1]) != matrix:
        return Orientation(
            remark="only some of its frames carry a display matrix; all are left as coded"
        ), chain(head, frames)
    return _orientation(matrix), chain(head, frames)


def warn_once(path: str, remark: str) -> None:
    """Log what is not done for a file, if anything."""
    if remark:  # So that only files with a remark are remembered.
        _warn(path, remark)


@functools.lru_cache(maxsize=1024)
def _warn(path: str, remark: str) -> None:
    logger.warning("%s: %s.", path, remark)


def shown_size(height: int, width: int, quarter_turns: int) -> tuple[int, int]:
    """Return height and width after turning."""
    return (width, height) if quarter_turns % 2 else (height, width)


def upright(rgb_HWC: np.ndarray, quarter_turns: int) -> np.ndarray:
    """Turn uint8 RGB counter-clockwise: a contiguous copy, the array itself for 0 quarter turns."""
    if not quarter_turns:
        return rgb_HWC
    # Whole pixels are copied twice as fast as bytes.
    return np.ascontiguousarray(np.rot90(rgb_HWC.view("V3"), quarter_turns)).view(np.uint8)
