"""write_video, numbered_frames, frame_number, ...: small synthetic videos whose frames show their numbers.

Axes: T frames, H rows, W columns, C channels.
"""

import contextlib
import math
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

NUMBER_BITS = 10
"""``numbered_frames`` writes this many bits, so it counts up to 1023."""


def numbered_frames(num_frames: int, *, height: int = 48, width: int = 64) -> np.ndarray:
    """Draw frames that show their number: ten vertical bars, white for 1 and black for 0, highest bit left.

    The lower half of each frame is a texture that moves by one pixel per frame. Encoders then have motion to
    predict, and neighbouring frames differ everywhere.

    Returns:
        uint8 RGB (T, H, W, 3).
    """
    rows, columns = np.mgrid[:height, :width]
    bits = NUMBER_BITS - 1 - columns * NUMBER_BITS // width
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for number in range(num_frames):
        frames[number] = (((number >> bits) & 1) * 255)[..., None]
        lower = rows >= height // 2
        texture = np.stack(
            [(columns + number) * 9, (rows * 5 + number * 3), (columns * rows + number)], axis=-1
        )
        frames[number][lower] = (texture % 256).astype(np.uint8)[lower]
    return frames


def frame_number(frame: Tensor | np.ndarray) -> int:
    """Read the number that ``numbered_frames`` drew, from uint8 (3, H, W) or (H, W, 3), lossy or not."""
    pixels = np.asarray(frame)
    if pixels.shape[0] == 3 and pixels.shape[-1] != 3:
        pixels = pixels.transpose(1, 2, 0)
    height, width = pixels.shape[:2]
    row = pixels[height // 4].mean(axis=-1)
    centres = [(2 * bar + 1) * width // (2 * NUMBER_BITS) for bar in range(NUMBER_BITS)]
    return sum(int(row[centre] > 127) << (NUMBER_BITS - 1 - bar) for bar, centre in enumerate(centres))


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray] | int = 30,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: float | Fraction = 25,
    gop_size: int = 12,
    b_frames: int = 2,
    options: Mapping[str, str] | None = None,
    container: str | None = None,
    container_options: Mapping[str, str] | None = None,
    pts: Callable[[int], int] | None = None,
    display_matrix: Sequence[int] | None = None,
) -> Path:
    """Encode ``frames`` into one video stream and return the path.

    Args:
        path: File to write; the suffix selects the container unless ``container`` is given.
        frames: uint8 RGB (H, W, 3) arrays, or the number of ``numbered_frames`` to draw.
        codec: Name of an FFmpeg encoder.
        pix_fmt: Pixel format to encode.
        fps: Frames per second.
        gop_size: Largest number of frames from one keyframe to the next.
        b_frames: Largest number of consecutive B frames; ignored by codecs without B frames.
        options: Options of the encoder, for example ``{"x264-params": "open-gop=1"}``.
        container: FFmpeg's name of the container.
        container_options: Options of the muxer.
        pts: Maps a frame's number to its time in units of 1 / fps; ``None``: the number itself.
        display_matrix: Nine numbers for the container's header, see ``rotation_matrix``.
    """
    rate = Fraction(fps).limit_denominator(1001)
    if isinstance(frames, int):
        frames = numbered_frames(frames)
    options_of_container = dict(container_options or {})
    with (
        _same_scheduling(),
        av.open(str(path), "w", format=container, options=options_of_container) as output,
    ):
        stream = None
        for number, pixels in enumerate(frames):
            if stream is None:
                stream = output.add_stream(codec, rate=rate, options=dict(options or {}))
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = pix_fmt
                stream.codec_context.time_base = 1 / rate
                stream.codec_context.gop_size = gop_size
                stream.codec_context.max_b_frames = b_frames
                stream.codec_context.thread_count = 1
                if display_matrix is not None:
                    stream.set_display_matrix(display_matrix)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = number if pts is None else pts(number)
            frame.time_base = 1 / rate
            output.mux(stream.encode(frame))
        if stream is not None:
            output.mux(stream.encode(None))
    return Path(path)


@contextlib.contextmanager
def _same_scheduling() -> Iterator[None]:
    """Undo SVT-AV1's real-time priority of the calling thread, which starves other processes."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def rotation_matrix(degrees: int) -> list[int]:
    """Return FFmpeg's display matrix that turns frames counter-clockwise."""
    cosine, sine = (round(65536 * part(math.radians(degrees))) for part in (math.cos, math.sin))
    return [cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 30]


def write_silence(path: str | Path, *, seconds: float = 1.0, codec: str = "aac") -> Path:
    """Write an audio-only file."""
    rate = 16000
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        samples = np.zeros((1, int(seconds * rate)), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = rate
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return Path(path)


def sequential_frames(path: str | Path) -> Tensor:
    """Decode the whole file from its start; the result defines the correct frames.

    Returns:
        uint8 RGB (T, 3, H, W) of the video stream that FFmpeg calls best.
    """
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


def with_reference(data: bytes, name: str) -> bytes:
    """Let the track of an MP4 file refer to ``name``, a file in the same folder, by a QuickTime alias.

    The layout follows FFmpeg's ``mov_read_dref``: the path is relative to the file if both levels are 1. The
    boxes of FFmpeg's muxer keep their offsets, because the index comes last.
    """
    path = f"/videos/{name}".encode()
    alias = bytes(134) + struct.pack(">HH", 1, 1) + bytes(16)
    alias += struct.pack(">HH", 2, len(path)) + path + b"\0" * (len(path) % 2) + b"\xff\xff\0\0"
    return _with_references(data, _box(b"dref", struct.pack(">II", 0, 1) + _box(b"alis", alias)))


def _with_references(boxes: bytes, references: bytes) -> bytes:
    result, at = b"", 0
    while at < len(boxes):
        size, kind = struct.unpack_from(">I4s", boxes, at)
        content = boxes[at + 8 : at + size]
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
            content = _with_references(content, references)
        result += references if kind == b"dref" else _box(kind, content)
        at += size
    return result


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content
