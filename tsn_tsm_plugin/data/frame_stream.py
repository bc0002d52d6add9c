"""FrameStream, iterate_frames: read consecutive frames from a file, a camera or standard input.

Memory does not grow with the length of the source. Faults are reported, not raised: corrupt frames are
skipped, frames of another size are passed on, and a stalled source may recover.
"""

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import av
import numpy as np

from tsn_tsm_plugin.data.decoders.container import FILE_OPTIONS, frame_rate, open_container
from tsn_tsm_plugin.data.decoders.rgb import orientation_of, upright
from tsn_tsm_plugin.data.frame_folder import USUAL_NAMES, FrameFolderReader, FrameNames, open_frame_folder
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.paths import is_url, local_path

Say = Callable[[str], None]
"""Function that receives one sentence about an event of the source."""

STANDARD_INPUT = "-"
_PROTOCOLS = "crypto,data,http,httpproxy,https,rtmp,rtmps,rtp,rtsp,srt,srtp,tcp,tls,udp"
_URL_OPTIONS = {"protocol_whitelist": _PROTOCOLS}
_Item = TypeVar("_Item")
_CAMERAS = {
    "linux": ("v4l2", "/dev/video{}"),
    "darwin": ("avfoundation", "{}"),
    "win32": ("dshow", "video={}"),
}


@dataclass(frozen=True, eq=False)
class StreamedFrame:
    """A frame of a source.

    Attributes:
        index: Number of frames before this one.
        seconds: Time since the first frame by the source; -1.0 if unknown.
        rgb: uint8 RGB pixels (H, W, 3).
    """

    index: int
    seconds: float
    rgb: np.ndarray


def is_camera(source: str) -> bool:
    """Return whether ``source`` is the index of a camera: ``"0"``, ``"1"``."""
    return source.isdecimal()


def open_source(
    source: str, *, frame_names: FrameNames = USUAL_NAMES
) -> av.container.InputContainer | FrameFolderReader:
    """Open a file, a folder of frames, a URL, a camera by its index, or standard input (``"-"``).

    Args:
        source: The source; the prefix ``file:`` marks a path, such as a file named ``0``.
        frame_names: Usual names of the frames of a folder.

    Raises:
        VideoError: If the source cannot be opened or holds no video.
    """
    folder = source.removeprefix("file:").removeprefix("//")
    if not is_camera(source) and not is_url(folder) and os.path.isdir(folder):  # noqa: PTH112
        return open_frame_folder(folder, frame_names)
    try:
        container = _open(source)
    except (OSError, ValueError, av.FFmpegError) as error:
        raise VideoError(_why_not(source, error)) from error
    if container.streams.best("video") is None:
        container.close()
        raise VideoError(f"{source}: holds no video stream.")
    return container


def _open(source: str) -> av.container.InputContainer:
    if source == STANDARD_INPUT:
        if sys.stdin is None:
            raise VideoError("-: standard input is closed. Send a video, e.g. ffmpeg -i ... -f mpegts -.")
        # Bypass Python's buffer: a read that never returns would hold the buffer's lock at exit.
        return av.open(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer), mode="r", options=FILE_OPTIONS)
    if is_camera(source):
        kind, device = _CAMERAS[sys.platform if sys.platform in _CAMERAS else "linux"]
        return av.open(device.format(source), mode="r", format=kind)
    if source.startswith("file:"):
        return open_container(source.removeprefix("file:").removeprefix("//"))[0]
    if is_url(source) and source.partition("://")[0] not in _PROTOCOLS.split(","):  # For example s3://.
        return open_container(local_path(source))[0]
    if is_url(source):  # A remote playlist may name other addresses, but no local file.
        return av.open(source, mode="r", options=_URL_OPTIONS)
    return open_container(source)[0]


def _why_not(source: str, error: Exception) -> str:
    if source == STANDARD_INPUT:
        return (
            f"-: standard input is not a video that can be read front to back ({error}). Send MPEG-TS, "
            "Matroska or raw H.264, e.g. ffmpeg -i ... -f mpegts -."
        )
    if is_camera(source):
        device = _CAMERAS.get(sys.platform, _CAMERAS["linux"])[1].format(source)
        return f"camera {source}: {device} cannot be opened ({error}). Check that it is there and not in use."
    return f"{source}: cannot be opened as a video ({error}). Check the address."


def iterate_frames(
    opened: av.container.InputContainer | FrameFolderReader, report: Say
) -> Iterator[StreamedFrame]:
    """Decode the best video stream from its current position to its end; frames are upright.

    Args:
        opened: Result of :func:`open_source`.
        report: Function that receives reports of corrupt frames, changed sizes and ignored display matrices.
    """
    if isinstance(opened, FrameFolderReader):
        frames = _of_folder(opened, report)
    else:
        frames = _of_container(opened, report)
    size: tuple[int, ...] = ()
    for index, (seconds, rgb) in enumerate(frames):
        height, width = rgb.shape[:2]
        if size not in ((), (height, width)):
            report(f"frame {index}: the size changed from {size[1]} x {size[0]} to {width} x {height} pixels")
        size = height, width
        yield StreamedFrame(index, seconds, rgb)


def _of_folder(reader: FrameFolderReader, report: Say) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the time -1.0 (unknown) and the pixels of each readable frame of a folder."""
    for number in range(reader.num_frames):
        try:
            rgb_CHW = reader.read([number])[0]
        except VideoError as error:
            report(f"frame {number}: corrupt, skipped ({error})")
            continue
        yield -1.0, rgb_CHW.permute(1, 2, 0).contiguous().numpy()


def _of_container(container: av.container.InputContainer, report: Say) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the time since the first frame, or -1.0 if unknown, and the upright pixels of each frame."""
    stream = container.streams.best("video")
    assert stream is not None
    first = None
    orientation, frames = orientation_of(_decode(container, stream, report))
    if orientation.remark:
        report(orientation.remark)
    for frame in frames:
        if first is None:
            first = frame.time
        seconds = -1.0 if frame.time is None or first is None else frame.time - first
        yield seconds, upright(frame.to_ndarray(format="rgb24"), orientation.quarter_turns)


def _rate(opened: av.container.InputContainer | FrameFolderReader) -> float:
    if isinstance(opened, FrameFolderReader):
        return opened.fps
    stream = opened.streams.best("video")
    assert stream is not None
    return frame_rate(stream)


def _decode(container: Any, stream: Any, report: Say) -> Iterator[av.VideoFrame]:
    """Yield the decodable frames, packet by packet, so that a broken packet affects no other packet."""
    # Frame threading would delay frames.
    stream.codec_context.thread_type = "SLICE"
    packets = container.demux(stream)
    num_decoded = 0
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError as error:
            report(f"frame {num_decoded}: the source broke off ({error})")
            return
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            report(f"frame {num_decoded}: corrupt, skipped ({error})")
            continue
        for frame in frames:
            if frame.is_corrupt:
                report(f"frame {num_decoded}: corrupt, skipped")
                continue
            yield frame
            num_decoded += 1


class FrameStream:
    """Frames of a source, read by a thread so that stalls can be reported.

    If the consumer is slower than a camera, all waiting frames but the newest are dropped.

    Args:
        source: A file, a folder of frames, a URL, the index of a camera, or ``"-"`` for standard input.
        report: Function that receives every report about the source.
        stall_seconds: Wait before a stall is reported; the wait doubles after each report.
        give_up_seconds: Length of a stall that ends the stream.
        frame_names: Usual names of the frames of a folder.

    Attributes:
        fps: Frames per second by the source; 0.0 if unknown.
        num_dropped: Frames of a camera that were dropped.
        is_given_up: Whether the stream ended because of a stall.

    Raises:
        VideoError: If the source cannot be opened, or does not answer.
    """

    def __init__(
        self,
        source: str,
        report: Say,
        *,
        stall_seconds: float = 2.0,
        give_up_seconds: float = 30.0,
        frame_names: FrameNames = USUAL_NAMES,
    ) -> None:
        self.source = source
        self._frame_names = frame_names
        self.num_dropped = 0
        self.is_given_up = False
        self._report = report
        self._stall_seconds = stall_seconds
        self._give_up_seconds = give_up_seconds
        self._is_live = is_camera(source)
        self._answer: queue.Queue[float | Exception] = queue.Queue()
        self._queue: queue.Queue[StreamedFrame | Exception | None] = queue.Queue(
            maxsize=1 if self._is_live else 4
        )
        self._closed = threading.Event()
        # A daemon: a read of a stalled source cannot be interrupted.
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        answer = self._wait(self._answer)
        if not isinstance(answer, float):
            self._closed.set()
            raise VideoError(f"{source}: does not answer.") if answer is None else self._told(answer)
        self.fps = answer

    def _read(self) -> None:
        """Send the frame rate, the frames, and at last ``None``; send an error if any of these fails."""
        try:
            self._send()
        except Exception as error:
            # Put the error on both queues: the main thread may wait on either.
            self._answer.put(error)
            self._put(error)

    def _send(self) -> None:
        with open_source(self.source, frame_names=self._frame_names) as opened:
            self._answer.put(_rate(opened))
            for frame in iterate_frames(opened, self._report):
                if self._closed.is_set():
                    return
                self._put(frame)
        self._put(None)

    def _put(self, item: StreamedFrame | Exception | None) -> None:
        if self._is_live and isinstance(item, StreamedFrame):
            with contextlib.suppress(queue.Empty):
                self._queue.get_nowait()
                self.num_dropped += 1
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return

    def __iter__(self) -> Iterator[StreamedFrame]:
        """Yield frames until the source ends or stalls for too long.

        Raises:
            VideoError: If reading the source fails.
        """
        while (frame := self._wait(self._queue)) is not None:
            if isinstance(frame, Exception):
                raise self._told(frame)
            yield frame

    def _told(self, error: Exception) -> Exception:
        """Return the error to raise for an error of the reading thread."""
        # BrokenPipeError means stdout was closed, not that the source failed.
        if isinstance(error, (VideoError, BrokenPipeError)):
            return error
        told = VideoError(f"{self.source}: reading it broke off ({type(error).__name__}: {error}).")
        told.__cause__ = error
        return told

    def _wait(self, items: "queue.Queue[_Item]") -> "_Item | None":
        """Return the next item, or ``None`` after the timeout; report long waits."""
        waited, patience = 0.0, self._stall_seconds
        while True:
            until = min(patience, self._give_up_seconds)
            try:
                return items.get(timeout=max(until - waited, 0.001))
            except queue.Empty:
                waited = until
            if waited >= self._give_up_seconds:
                self.is_given_up = True
                self._report(f"no frame for {waited:g} s: stopped")
                return None
            self._report(f"no frame for {waited:g} s: waiting")
            patience *= 2

    def close(self) -> None:
        """Stop reading the source."""
        self._closed.set()
        self._thread.join(timeout=1.0)

    def __enter__(self) -> "FrameStream":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
