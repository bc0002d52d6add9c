"""scan_packets: read the packets of a stream once and find the packets that each frame needs."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.video.stream import VideoStream

from tsn_tsm_plugin.data.bitstream.frame_index import FrameIndex, build_frame_index
from tsn_tsm_plugin.data.bitstream.h264 import H264Pictures
from tsn_tsm_plugin.data.bitstream.hevc import HevcPictures
from tsn_tsm_plugin.data.bitstream.mpeg4 import Mpeg4Pictures
from tsn_tsm_plugin.data.bitstream.picture import CodedPicture, PictureScanner, UnverifiedStreamError
from tsn_tsm_plugin.data.bitstream.vp9_av1 import Av1Pictures, Vp9Pictures
from tsn_tsm_plugin.data.decoders.container import DEMUX_ERRORS, check_complete, cut_short, damaged

MAX_HELD_BYTES = 32 << 20
"""Packets of smaller videos stay in memory; packets of larger videos are read from the file again."""

# Codecs of datasets and phones. All other codecs are decoded plainly.
_SCANNERS: dict[str, Callable[[bytes], PictureScanner]] = {
    "h264": H264Pictures,
    "hevc": HevcPictures,
    "mpeg4": Mpeg4Pictures,
    "vp9": Vp9Pictures,
    "libdav1d": Av1Pictures,
}
# FFmpeg's filters that read headers completely; FFmpeg's HEVC decoder drops a picture for one bad bit.
_HEADER_CHECKS = {"hevc": "hevc_metadata"}
# Containers that store display times. For others FFmpeg guesses them, sometimes from the packet order.
_TIMED_FORMATS = {"mp4", "matroska", "flv"}
# Longest time between consecutive frames, in units of the median time; a longer time is a gap.
_MAX_STEP = 1.5
# Recordings of these formats may start midway with damaged packets, which do not mean a missing end.
_JOINABLE_FORMATS = {"mpegts", "mpeg"}


@dataclass(frozen=True)
class ScannedStream:
    """Result of reading the packets once.

    Attributes:
        index: Map from frames to the packets to decode.
        packets: The packets, each with its number as time stamp; None if too large for memory.
        frame_seconds: Presentation time of each frame if the times ascend, otherwise None.
        is_seekable: Whether every frame can be decoded from the last keyframe at or before it; the container
            marks the keyframes.
    """

    index: FrameIndex
    packets: list[av.Packet] | None
    frame_seconds: list[float] | None
    is_seekable: bool


def scanner_for(codec: str, extradata: bytes) -> PictureScanner:
    """Return the scanner of a codec, by FFmpeg's decoder name.

    Raises:
        UnverifiedStreamError: If sparse decoding is not known to be exact for the codec.
    """
    if codec not in _SCANNERS:
        raise UnverifiedStreamError(f"codec {codec} is not known to allow sparse decoding")
    return _SCANNERS[codec](extradata)


class _Scan:
    """Collect the packets of one stream; after the first doubt, packets are counted but not parsed."""

    def __init__(self, stream: VideoStream) -> None:
        self.packets: list[av.Packet] | None = []
        self.num_packets = self.num_bytes = self.num_corrupt = 0
        self.pictures: list[CodedPicture] = []
        self.pts: list[int | None] = []
        self.dts: list[int | None] = []
        self.discarded: set[int] = set()
        self.has_loose_keyframe = False
        self.doubt: Exception | None = None
        self.scanner: PictureScanner | None = None
        self.header_check: BitStreamFilterContext | None = None
        try:
            context = stream.codec_context
            if context.codec.name in _HEADER_CHECKS:
                self.header_check = BitStreamFilterContext(_HEADER_CHECKS[context.codec.name], stream)
            self.scanner = scanner_for(context.codec.name, context.extradata or b"")
        except (UnverifiedStreamError, IndexError, av.FFmpegError) as doubt:
            self._doubt(doubt)

    def _doubt(self, reason: Exception) -> None:
        self.doubt = self.doubt or reason
        self.packets = None

    def add(self, packet: av.Packet) -> None:
        number = self.num_packets
        self.num_packets += 1
        self.num_bytes += packet.size
        self.num_corrupt += packet.is_corrupt
        if self.doubt is not None or self.scanner is None:
            return
        try:
            if next(iter(packet.iter_sidedata()), None) is not None:
                raise UnverifiedStreamError("the container changes decoding midway, such as by a new palette")
            content = bytes(packet)
            picture = self.scanner.scan(content)
            if self.header_check is not None:
                self.header_check.filter(av.Packet(content))
        except (UnverifiedStreamError, IndexError, av.FFmpegError) as doubt:
            self._doubt(doubt)
            return
        self.pictures.append(picture)
        self.has_loose_keyframe |= packet.is_keyframe and not picture.is_start
        self.pts.append(packet.pts)
        self.dts.append(packet.dts)
        if packet.is_discard:
            self.discarded.add(number)
        if self.num_bytes > MAX_HELD_BYTES:
            self.packets = None
        if self.packets is not None:
            packet.pts = number
            self.packets.append(packet)


def scan_packets(path: str, container: InputContainer, stream: VideoStream) -> ScannedStream:
    """Read all packets of a stream and index its frames.

    Raises:
        UnverifiedStreamError: If the packets alone do not determine the packets that each frame needs.
        VideoError: If the file is damaged or cut short.
    """
    scan = _Scan(stream)
    num_empty = 0
    try:
        for packet in container.demux(stream):
            if packet.size:
                scan.add(packet)
            else:
                num_empty += 1
    except DEMUX_ERRORS as error:
        raise damaged(path, error) from error
    names = set(container.format.name.split(","))
    if scan.num_corrupt and not names & _JOINABLE_FORMATS:
        raise cut_short(path, f"{scan.num_corrupt} of {scan.num_packets} packets are not complete")
    check_complete(path, container, stream, scan.num_packets)
    if scan.num_corrupt or num_empty > 1:
        raise UnverifiedStreamError("the file holds empty or damaged packets")
    if "avi" in names and scan.num_packets != stream.frames:
        raise UnverifiedStreamError(f"the header counts {stream.frames} frames, the file {scan.num_packets}")
    if scan.doubt is not None or scan.scanner is None:
        raise UnverifiedStreamError(str(scan.doubt)) from scan.doubt
    if scan.scanner.order == "pts" and not names & _TIMED_FORMATS:
        raise UnverifiedStreamError(f"{container.format.name} files do not store the display times of frames")
    _check_times(scan.pts if None not in scan.pts else scan.dts)
    index = build_frame_index(
        scan.pictures,
        scan.pts,
        order=scan.scanner.order,
        reorder_depth=stream.codec_context.reorder_depth,
        discarded=frozenset(scan.discarded),
    )
    is_seekable = not (index.is_open or scan.has_loose_keyframe or scan.discarded)
    return ScannedStream(index, scan.packets, _frame_seconds(scan, index, stream), is_seekable)


def _check_times(stamps: Sequence[int | None]) -> None:
    """Refuse repeated time stamps and gaps: the stream was cut, joined or damaged."""
    known = sorted(stamp for stamp in stamps if stamp is not None)
    if len(known) != len(stamps):
        raise UnverifiedStreamError("time stamps are missing")
    steps = sorted(map(operator.sub, known[1:], known))
    if steps and not 0 < steps[-1] <= max(_MAX_STEP * steps[len(steps) // 2], 2):
        raise UnverifiedStreamError("time stamps have a gap")
    if steps and steps[0] <= 0:
        raise UnverifiedStreamError("time stamps are repeated")


def _frame_seconds(scan: _Scan, index: FrameIndex, stream: VideoStream) -> list[float] | None:
    stamps = [scan.pts[packet] for packet in index.frames]
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) != len(stamps) or any(map(operator.ge, known, known[1:])):
        return None
    # PyAV 18 gives a Fraction, PyAV 19 its own rational with fewer methods.
    time_base = Fraction(stream.time_base or 1)
    return [stamp * time_base.numerator / time_base.denominator for stamp in known]
