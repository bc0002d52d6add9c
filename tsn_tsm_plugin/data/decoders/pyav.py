"""PyAVDecoder: read exact frames with PyAV, whose wheel contains FFmpeg; the default decoder.

Sparse reading: the packets are read once, their headers show which packets each frame needs, and only these
packets are decoded. The headers must prove that the stream is complete and uniform. Every other stream is
decoded plainly, from the start of the file on one thread; the frames are the same.

Axes: T frames, C channels, H rows, W columns.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from torch import Tensor

from tsn_tsm_plugin.data.bitstream.frame_index import FrameIndex, Run
from tsn_tsm_plugin.data.bitstream.packet_scan import scan_packets
from tsn_tsm_plugin.data.bitstream.picture import UnverifiedStreamError
from tsn_tsm_plugin.data.decoders.container import frame_rate, open_container, plain_frames
from tsn_tsm_plugin.data.decoders.rgb import (
    AS_CODED,
    Orientation,
    RgbCollector,
    matrix_of,
    orientation_of,
    scaled_size,
    shown_size,
)
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.log import get_logger, warn_once

logger = get_logger(__name__)

# Time stamps in whole milliseconds may give a short video a rate that differs by this fraction.
_RATE_TOLERANCE = 0.02
_PROGRESSIVE = 1  # FFmpeg's AV_FIELD_PROGRESSIVE; 0 means unknown.


class _UnexpectedFramesError(Exception):
    """Sparse decoding gave other frames than the index predicts."""


class PyAVDecoder:
    """Read frames by index, counted over a decode of the whole file from its start.

    Frames are upright: rotated by the container's display matrix (multiples of 90 degrees). No file stays
    open between calls.

    Args:
        path: A file that FFmpeg can read.
        num_threads: Threads of the decoder for sparse reading.
        short_side: Short side in pixels after the conversion to RGB; 0 keeps the size.
        is_plain: Always decode from the start of the file.

    Attributes:
        num_frames: Number of frames of a plain decode of the whole file.
        fps: Mean frames per second, by the time stamps if the header contradicts them; 0.0 if both are
            unknown.
        coded_height: Rows of a frame before scaling and rotation, in pixels.
        coded_width: Columns of a frame before scaling and rotation, in pixels.
        stream_index: Number of the stream in the file.
        codec: FFmpeg's name of the decoder.
        pix_fmt: FFmpeg's name of the pixel format.
        is_interlaced: Whether the header marks the video as interlaced.
        format_names: FFmpeg's names of the container.
        frame_seconds: Presentation time of each frame if certain and ascending, otherwise None.
        is_seekable: Whether every frame can be decoded from the last keyframe at or before it.

    Raises:
        VideoError: If the file is not a video, is damaged or truncated.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        num_threads: int = 1,
        short_side: int = 0,
        is_plain: bool = False,
    ) -> None:
        self.path = os.fspath(path)
        self.num_threads = num_threads
        self.short_side = short_side
        self.is_plain = is_plain
        self.frame_seconds: list[float] | None = None
        self.is_seekable = False
        self._index: FrameIndex | None = None
        self._packets: list[av.Packet] | None = None
        self._context: VideoCodecContext | None = None
        self._is_primed = False
        self._reformatter = VideoReformatter()
        self._orientation: Orientation | None = None
        container, stream = open_container(self.path)
        with closing(container):
            self.stream_index = stream.index
            self.fps = frame_rate(stream)
            context = stream.codec_context
            self.coded_height, self.coded_width = context.height, context.width
            self.codec = context.codec.name
            self.pix_fmt = stream.codec_context.pix_fmt or "unknown"
            self.is_interlaced = stream.codec_context.field_order > _PROGRESSIVE
            self.format_names = frozenset(container.format.name.split(","))
            if not is_plain:
                self._scan(container, stream)
        self.num_frames = self._count_plainly() if self._index is None else len(self._index.frames)
        if self.num_frames == 0:
            raise VideoError(f"{self.path}: its video stream holds no frame. Remove it from the list.")

    def _scan(self, container: InputContainer, stream: VideoStream) -> None:
        try:
            scanned = scan_packets(self.path, container, stream)
        except UnverifiedStreamError as doubt:
            self._give_up_sparse_reading(doubt)
            return
        self._index, self._packets = scanned.index, scanned.packets
        self.frame_seconds, self.is_seekable = scanned.frame_seconds, scanned.is_seekable
        self.fps = _mean_rate(self.fps, len(self._index.frames), self.frame_seconds)
        self._context = self._prepared(stream.codec_context)

    @property
    def orientation(self) -> Orientation:
        """Orientation of the frames; the first access decodes the first frame if necessary."""
        if self._orientation is None:
            self.read([0])
        assert self._orientation is not None
        return self._orientation

    @property
    def height(self) -> int:
        """Rows of a frame, in pixels."""
        return self._size()[0]

    @property
    def width(self) -> int:
        """Columns of a frame, in pixels."""
        return self._size()[1]

    @property
    def is_sparse(self) -> bool:
        """Whether reading a few frames decodes less than all frames before them."""
        return self._index is not None

    def read(self, indices: Sequence[int]) -> Tensor:
        """Decode frames.

        Args:
            indices: Numbers in ``[0, num_frames)``, at least one, in any order, repeats allowed.

        Returns:
            uint8 RGB 0-255 (T, C, H, W).

        Raises:
            VideoError: If a frame cannot be decoded.
        """
        if self._index is not None:
            try:
                return self._read_sparsely(self._index, indices)
            except (_UnexpectedFramesError, av.FFmpegError) as doubt:
                self._give_up_sparse_reading(doubt)
                self.num_frames = self._count_plainly()
        return self._read_plainly(indices)

    def close(self) -> None:
        """Release packets and decoder; reading again opens the file again."""
        self._packets = None
        self._context = None

    def _size(self) -> tuple[int, int]:
        height, width = scaled_size(self.coded_height, self.coded_width, self.short_side)
        return shown_size(height, width, self.orientation.quarter_turns)

    def _quarter_turns(self, frame: av.VideoFrame) -> int:
        if self._orientation is None:
            # The container's matrix is on every frame, so most files need only this frame.
            self._orientation = AS_CODED if matrix_of(frame) is None else self._learn_orientation()
        return self._orientation.quarter_turns

    def _learn_orientation(self) -> Orientation:
        with closing(plain_frames(self.path)) as frames:
            orientation, _ = orientation_of(frames)
        warn_once(self.path, orientation.remark)
        return orientation

    def _collector(self, indices: Sequence[int]) -> RgbCollector:
        return RgbCollector(self.path, indices, self._reformatter, short_side=self.short_side)

    def _give_up_sparse_reading(self, doubt: Exception) -> None:
        logger.debug("%s: decoding from the start: %s", self.path, doubt)
        self.close()
        self._index = self.frame_seconds = None

    def _prepared(self, context: VideoCodecContext) -> VideoCodecContext:
        context.thread_count = self.num_threads
        if self.num_threads > 1:
            context.thread_type = "AUTO"
        # Fail on damage: concealment would differ from a plain decode.
        context.options = {"err_detect": "explode"}
        self._is_primed = False
        return context

    def _read_sparsely(self, index: FrameIndex, indices: Sequence[int]) -> Tensor:
        collector = self._collector(indices)
        number_of = {index.frames[number]: number for number in collector.missing}
        with ExitStack() as stack:
            if self._context is None or self._packets is None:
                container, stream = open_container(self.path)
                stack.enter_context(closing(container))
                self._context = self._context or self._prepared(stream.codec_context)
                packet_at = _packets_from_file(container.demux(stream))
            else:
                packet_at = self._packets.__getitem__
            for run in index.runs(collector.missing):
                for packet, frame in self._decode_run(self._context, run, packet_at):
                    if packet in number_of:
                        collector.add(number_of[packet], frame, self._quarter_turns(frame))
        if self.num_threads > 1:
            self._context = None  # Threads do not survive a fork.
        return collector.tensor()

    def _decode_run(
        self, context: VideoCodecContext, run: Run, packet_at: Callable[[int], av.Packet]
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield packet number and frame; check that exactly the predicted frames come."""
        if not self._is_primed and run.start > 0:
            # Decode the first packet: some decoders read the encoder's name from it, to work around bugs.
            for _ in _decoded(context, [packet_at(0)]):
                pass
        self._is_primed = True
        promised = iter(run.shown)
        for frame in _decoded(context, map(packet_at, run.packets)):
            packet = next(promised, -1)
            if frame.pts != packet or frame.is_corrupt:
                raise _UnexpectedFramesError(f"packet {frame.pts} was decoded instead of {packet}")
            yield packet, frame
        missing = next(promised, None)
        if missing is not None:
            raise _UnexpectedFramesError(f"packet {missing} gave no frame")

    def _count_plainly(self) -> int:
        times = [frame.time for frame in plain_frames(self.path)]
        known = [time for time in times if time is not None]
        self.fps = _mean_rate(self.fps, len(times), known if known == sorted(known) else None)
        return len(times)

    def _read_plainly(self, indices: Sequence[int]) -> Tensor:
        collector = self._collector(indices)
        for number, frame in enumerate(plain_frames(self.path)):
            if number in collector.missing:
                collector.add(number, frame, self._quarter_turns(frame))
            if not collector.missing:
                return collector.tensor()
        raise VideoError(
            f"{self.path}: is damaged: frame {max(indices)} was requested, {self.num_frames} can be decoded. "
            "Fetch it again, re-encode it or remove it from the list."
        )


def _mean_rate(told: float, num_frames: int, seconds: Sequence[float] | None) -> float:
    """Return the rate in the header, or the mean rate of the time stamps if they contradict the header."""
    if seconds is None or len(seconds) != num_frames or num_frames < 2 or seconds[-1] <= seconds[0]:
        return told
    mean = (num_frames - 1) / (seconds[-1] - seconds[0])
    return told if abs(told - mean) <= _RATE_TOLERANCE * mean else mean


def _decoded(
    context: VideoCodecContext, packets: Iterator[av.Packet] | list[av.Packet]
) -> Iterator[av.VideoFrame]:
    for packet in packets:
        yield from context.decode(packet)
    yield from context.decode(None)
    context.flush_buffers()


def _packets_from_file(packets: Iterator[av.Packet]) -> Callable[[int], av.Packet]:
    """Return a function from ascending packet numbers to packets with their number as time stamp."""
    numbered = enumerate(packet for packet in packets if packet.size)

    def packet_at(wanted: int) -> av.Packet:
        for number, packet in numbered:
            if number == wanted:
                packet.pts = number
                return packet
        raise _UnexpectedFramesError(f"the file has lost packet {wanted}")

    return packet_at
