"""Mpeg4Pictures: read the properties of MPEG-4 part 2 pictures, found by start codes.

The types alone determine the decoder's output order. A B picture comes at once, an I or P picture when the
next I or P picture arrives. The decoder drops B pictures whose times do not fit between those two.
Source: ISO/IEC 14496-2 6.2 and 6.3.
"""

from collections.abc import Iterator

from tsn_tsm_plugin.data.bitstream.bit_reader import BitReader
from tsn_tsm_plugin.data.bitstream.picture import CodedPicture, UnverifiedStreamError

_OBJECTS, _LAYERS = range(0x20), range(0x20, 0x30)
_SEQUENCE, _USER_DATA, _GROUP, _OBJECT, _PICTURE = 0xB0, 0xB2, 0xB3, 0xB5, 0xB6
# Longest time between consecutive frames, in units of the shortest time; rounding makes the times differ.
_MAX_STEP = 1.5
_INTRA, _PREDICTED, _BIDIRECTIONAL = 0, 1, 2


class Mpeg4Pictures:
    """MPEG-4 part 2: decoding starts at I pictures; plain decoding handles packed and uncoded pictures.

    Headers must not change. The encoder's message must not change either: it selects FFmpeg's workarounds.
    """

    order = "types"

    def __init__(self, extradata: bytes) -> None:
        self._num_scanned = self._num_references = 0
        self._headers: dict[int, bytes] = {}
        # Whether the video object layer may have B pictures, and its ticks per second.
        self._layer: tuple[bool, int] | None = None
        self._second = self._previous_second = 0
        self._anchor_times = (-1, -1)
        self._last_b_time = self._shown_time = -1
        self._steps: set[int] = set()
        for code, content in _units(extradata):
            self._meet_header(code, content)

    def scan(self, packet: bytes) -> CodedPicture:
        """Describe the next packet, which must be exactly one coded picture."""
        picture: bytes | None = None
        for code, content in _units(packet):
            if picture is not None:
                raise UnverifiedStreamError("an MPEG-4 packet holds more than a picture")
            if code == _PICTURE:
                picture = content
            elif code == _GROUP:
                self._read_group(content)
            else:
                self._meet_header(code, content)
        if picture is None or self._layer is None:
            raise UnverifiedStreamError("an MPEG-4 packet holds no picture, or its headers are missing")
        kind = self._read_picture(picture, *self._layer)
        self._num_scanned += 1
        is_bidirectional = kind == _BIDIRECTIONAL
        self._num_references += not is_bidirectional
        return CodedPicture(kind == _INTRA, is_droppable=is_bidirectional, is_bidirectional=is_bidirectional)

    def _meet_header(self, code: int, content: bytes) -> None:
        if code in _OBJECTS:
            code = 0
        elif code in _LAYERS:
            code = _LAYERS.start
        elif code not in (_SEQUENCE, _USER_DATA, _OBJECT):
            raise UnverifiedStreamError(f"the MPEG-4 stream has a start code {code:#04x}")
        known = self._headers.get(code)
        if known == content:
            return
        if known is not None or self._num_scanned:
            raise UnverifiedStreamError("the MPEG-4 stream changes its headers or the note of its encoder")
        if code == _LAYERS.start:
            self._layer = _read_layer(content)
        elif code == _USER_DATA and content.startswith(b"DivX") and content.rstrip(b"\0").endswith(b"p"):
            raise UnverifiedStreamError("the MPEG-4 stream packs several pictures together")
        self._headers[code] = content

    def _read_group(self, content: bytes) -> None:
        """Read the time code at the start of a group of pictures, from which pictures count seconds."""
        reader = BitReader(content[:3])
        hours, minutes = reader.bits(5), reader.bits(6)
        reader.bits(1)
        self._second = 3600 * hours + 60 * minutes + reader.bits(6)

    def _read_picture(self, content: bytes, is_reordered: bool, resolution: int) -> int:
        """Check the time of a picture against the references around it, and return its type."""
        reader = BitReader(content[:40])
        kind = reader.bits(2)
        num_seconds = 0
        while reader.bits(1):
            num_seconds += 1
        reader.bits(1)
        tick = reader.bits(max((resolution - 1).bit_length(), 1))
        reader.bits(1)
        if not reader.bits(1):  # vop_coded
            raise UnverifiedStreamError("the MPEG-4 stream has uncoded pictures")
        before, after = self._anchor_times
        if kind == _BIDIRECTIONAL:
            time = (self._previous_second + num_seconds) * resolution + tick
            if self._num_references < 2 or not is_reordered:
                raise UnverifiedStreamError("the MPEG-4 stream has B pictures that its header denies")
            if not max(before, self._last_b_time) < time < after:
                raise UnverifiedStreamError("an MPEG-4 picture is missing, repeated or misplaced")
            self._last_b_time = time
            self._show(time)
            return kind
        if kind not in (_INTRA, _PREDICTED) or (self._num_references == 0 and kind != _INTRA):
            raise UnverifiedStreamError(f"an MPEG-4 picture of type {kind} is not expected")
        self._previous_second = self._second
        self._second += num_seconds
        time = self._second * resolution + tick
        if time <= after:
            raise UnverifiedStreamError("an MPEG-4 picture is missing, repeated or misplaced")
        if after >= 0:
            self._show(after)
        self._anchor_times = after, time
        return kind

    def _show(self, time: int) -> None:
        """Refuse a gap in the times of display."""
        if self._shown_time >= 0:
            self._steps.add(time - self._shown_time)
            if max(self._steps) > _MAX_STEP * min(self._steps):
                raise UnverifiedStreamError("the times of the MPEG-4 stream have a gap")
        self._shown_time = time


def _units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (code, content) of each unit that begins with the bytes 00 00 01 code."""
    position = data.find(b"\0\0\1")
    if data and position != 0:
        raise UnverifiedStreamError("an MPEG-4 packet does not begin with a start code")
    while 0 <= position < len(data) - 3:
        following = data.find(b"\0\0\1", position + 3)
        yield data[position + 3], data[position + 4 : following if following >= 0 else len(data)]
        position = following


def _read_layer(content: bytes) -> tuple[bool, int]:
    """Return whether a layer may have B pictures, and its ticks per second (ISO/IEC 14496-2 6.2.3)."""
    reader = BitReader(content[:64])
    reader.bits(9)  # random_accessible_vol, video_object_type_indication
    if reader.bits(1):
        reader.bits(7)
    if reader.bits(4) == 15:
        reader.bits(16)
    is_reordered = False
    if reader.bits(1):  # vol_control_parameters
        is_reordered = not reader.bits(3) & 1
        if reader.bits(1):
            reader.bits(79)
    shape = reader.bits(2)
    reader.bits(1)
    time_resolution = reader.bits(16)
    reader.bits(1)
    if reader.bits(1):  # fixed_vop_rate
        reader.bits(max((time_resolution - 1).bit_length(), 1))
    reader.bits(1 + 13 + 1 + 13 + 1)  # width and height between markers
    if shape or not time_resolution or reader.bits(1):
        raise UnverifiedStreamError("the MPEG-4 stream is interlaced, or its pictures are no rectangles")
    return is_reordered, time_resolution
