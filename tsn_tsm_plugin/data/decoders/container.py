"""open_container, check_complete: open a video file with FFmpeg, and detect truncated files.

FFmpeg opens more than files: playlists and scripts name other files and network addresses. This module opens
only the given file, and only with demuxers that read one file.
"""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.paths import open_regular

MAX_FRAME_PIXELS = 1 << 27
"""A header that claims more pixels per frame than 16384 x 8192 is treated as damaged."""

DEMUX_ERRORS = (av.FFmpegError, IndexError)
"""Exceptions from reading packets; PyAV raises IndexError for a stream that appears midway."""

# fmt: off
_FORMATS = (
    "apng", "asf", "av1", "avi", "cavsvideo", "dirac", "dv", "evc", "flv", "gif", "h261", "h263", "h264",
    "hevc", "ivf", "live_flv", "m4v", "matroska", "mjpeg", "mjpeg_2000", "mov", "mpeg", "mpegts", "mpegvideo",
    "mxf", "nsv", "nut", "obu", "ogg", "rm", "swf", "vc1", "vvc", "wtv", "yuv4mpegpipe",
)
# fmt: on
FILE_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS), "enable_drefs": "0"}
"""Options that limit FFmpeg to one file: no playlist, no network, no reference out of a container."""

MAX_READ_BYTES = 4 << 30
"""Larger reads are refused before memory is allocated."""

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def open_container(path: str) -> tuple[InputContainer, VideoStream]:
    """Open a file, and only this file, and choose the video stream that FFmpeg calls best.

    The prefix ``file:`` prevents FFmpeg from reading a colon in the path as a protocol.

    Raises:
        VideoError: If the file is not a video.
    """
    try:
        container = av.open(f"file:{path}", options=FILE_OPTIONS)
    except (OSError, ValueError, av.FFmpegError) as error:
        is_refused = isinstance(error, av.ArgumentError)  # FFmpeg's answer to other containers.
        reason = "its container format is unknown" if is_refused else _reason(error)
        raise VideoError(
            f"{path}: cannot be opened as a video ({reason}). If it is a playlist, name its files. "
            "If it is a video, it is damaged or cut short: fetch it again, or remove it from the list."
        ) from error
    try:
        return container, _best_stream(path, container)
    except BaseException:
        container.close()
        raise


def frame_rate(stream: Stream) -> float:
    """Mean frames per second of a stream, 0.0 if unknown."""
    return float(stream.average_rate or stream.guessed_rate or 0)


def _best_stream(path: str, container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & av.stream.Disposition.attached_pic:
        raise VideoError(f"{path}: holds no video stream. Remove it from the list.")
    context: VideoCodecContext | None = stream.codec_context
    if context is None:
        raise VideoError(
            f"{path}: FFmpeg knows no decoder for its video stream, or the file is damaged. Fetch it again, "
            "or re-encode it, for example as H.264."
        )
    if not 0 < context.width * context.height <= MAX_FRAME_PIXELS:
        raise VideoError(
            f"{path}: its header claims frames of {context.width}x{context.height} pixels, so it is damaged. "
            "Fetch it again or remove it from the list."
        )
    return stream


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def check_read_size(path: str, num_frames: int, height: int, width: int) -> None:
    """Refuse a read whose frames would exceed ``MAX_READ_BYTES``.

    Raises:
        VideoError: If the frames take more than ``MAX_READ_BYTES`` as RGB.
    """
    num_bytes = 3 * num_frames * height * width
    if num_bytes > MAX_READ_BYTES:
        raise VideoError(
            f"{path}: {num_frames} frames of {width}x{height} pixels take {num_bytes / 1e9:.1f} GB; a read "
            f"may take {MAX_READ_BYTES / 1e9:.1f} GB. Read fewer frames at once, or make them smaller."
        )


def damaged(path: str, error: Exception, *, frame: int | None = None) -> VideoError:
    """Return an error that names the frame at which decoding failed."""
    position = "" if frame is None else f" at frame {frame}"
    return VideoError(
        f"{path}: is damaged{position} ({_reason(error)}). "
        "Fetch it again, re-encode it or remove it from the list."
    )


def plain_frames(path: str) -> Generator[av.VideoFrame]:
    """Decode a file from its start on one thread: concealment of damage depends on the number of threads.

    Raises:
        VideoError: If the file is not a video, or is damaged.
    """
    container, stream = open_container(path)
    number = 0
    with closing(container):
        stream.codec_context.thread_count = 1
        try:
            for frame in container.decode(stream):
                yield frame
                number += 1
        except DEMUX_ERRORS as error:
            raise damaged(path, error, frame=number) from error


def check_complete(path: str, container: InputContainer, stream: VideoStream, num_packets: int) -> None:
    """Refuse a file that is shorter than its header or index states.

    MPEG transport and program streams and raw streams state no length; a truncated stream reads as a shorter
    video.

    Raises:
        VideoError: If the file is truncated.
    """
    size = Path(path).stat().st_size
    names = set(container.format.name.split(","))
    promised = 0
    if "mp4" in names:
        promised = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
    elif "avi" in names and num_packets < stream.frames:
        with open_regular(path) as file:
            promised = int.from_bytes(file.read(8)[4:], "little") + 8
    elif "matroska" in names:
        promised = _matroska_size(path)
    if promised > size:
        raise cut_short(path, f"it has {size} of at least {promised} bytes")


def cut_short(path: str, detail: str) -> VideoError:
    """Return the error for a file whose end is missing."""
    return VideoError(f"{path}: is cut short ({detail}). Fetch it again or remove it from the list.")


def _matroska_size(path: str) -> int:
    """Return the end of the first Segment; 0 if the file does not state the size (RFC 8794 4 and 6.2)."""
    with open_regular(path) as file:
        head = file.read(4096)
    if not head.startswith(_EBML):
        return 0
    header_size, position, _ = _ebml_number(head, 4)
    position += header_size
    if head[position : position + 4] != _SEGMENT:
        return 0
    size, position, is_unknown = _ebml_number(head, position + 4)
    return 0 if is_unknown else position + size


def _ebml_number(data: bytes, position: int) -> tuple[int, int, bool]:
    """Return a variable-length number, the position after it, and whether it stands for "unknown"."""
    first = data[position] if position < len(data) else 0
    length = 9 - first.bit_length()
    payload_bits = 7 * length
    number = int.from_bytes(data[position : position + length], "big") & ((1 << payload_bits) - 1)
    return number, position + length, number == (1 << payload_bits) - 1
