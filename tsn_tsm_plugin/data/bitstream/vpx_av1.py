"""VP8, VP9 and AV1 pictures: which packets show a frame, and where decoding may start.

Their packets come in the order of display; pictures that only serve as references are hidden.
Sources: RFC 6386 9.1; VP9 bitstream specification 6.2 and annex B; AV1 bitstream specification 5.3 and 5.9.
"""

from collections.abc import Iterator

from tsn_tsm_plugin.data.bitstream.bit_reader import BitReader
from tsn_tsm_plugin.data.bitstream.picture import Picture, UnverifiedStreamError


def _require_start(is_first: bool, is_start: bool, codec: str) -> None:
    if is_first and not is_start:
        raise UnverifiedStreamError(f"the {codec} stream does not begin with a keyframe")


class Vp8Pictures:
    """VP8: the frame tag says whether it is a keyframe and whether it is shown."""

    order = "decoding"

    def __init__(self, extradata: bytes) -> None:
        del extradata
        self._is_first = True

    def scan(self, packet: bytes) -> Picture:
        """Describe the next packet."""
        is_key = not packet[0] & 1 and packet[3:6] == b"\x9d\x01\x2a"
        _require_start(self._is_first, is_key, "VP8")
        self._is_first = False
        return Picture(is_start=is_key, is_shown=bool(packet[0] & 0x10))


class Vp9Pictures:
    """VP9: a packet is one frame or a superframe with hidden ones."""

    order = "decoding"

    def __init__(self, extradata: bytes) -> None:
        del extradata
        self._is_first = True

    def scan(self, packet: bytes) -> Picture:
        """Describe the next packet: at most one shown frame."""
        num_shown, starts = 0, []
        for frame in _vp9_frames(packet):
            reader = BitReader(frame[:3])
            if reader.bits(2) != 2:
                raise UnverifiedStreamError("a VP9 frame lacks its marker")
            profile = reader.bits(1) + 2 * reader.bits(1)
            if profile == 3:
                reader.bits(1)
            if reader.bits(1):  # show_existing_frame
                num_shown += 1
                starts.append(False)
                continue
            starts.append(not reader.bits(1))  # frame_type
            num_shown += reader.bits(1)
        if num_shown > 1 or not starts:
            raise UnverifiedStreamError("a VP9 packet shows more than one frame")
        _require_start(self._is_first, starts[0], "VP9")
        self._is_first = False
        return Picture(is_start=starts[0], is_shown=num_shown == 1)


def _vp9_frames(packet: bytes) -> Iterator[bytes]:
    marker = packet[-1]
    num_frames, size_bytes = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index_bytes = 2 + num_frames * size_bytes
    if marker & 0xE0 != 0xC0 or len(packet) < index_bytes or packet[-index_bytes] != marker:
        yield packet
        return
    position = 0
    for number in range(num_frames):
        entry = len(packet) - index_bytes + 1 + number * size_bytes
        size = int.from_bytes(packet[entry : entry + size_bytes], "little")
        yield packet[position : position + size]
        position += size


class Av1Pictures:
    """AV1: decoding starts at a shown key frame in a temporal unit with a sequence header."""

    order = "decoding"

    def __init__(self, extradata: bytes) -> None:
        self._is_first = True
        self._is_still_picture = False
        self._headers: set[bytes] = set()
        if extradata[:1] == b"\x81":
            for kind, payload in _av1_units(extradata[4:]):
                self._meet_header(kind, payload)

    def _meet_header(self, kind: int, payload: bytes) -> None:
        if kind != 1:
            return
        if not self._is_first and payload not in self._headers:
            raise UnverifiedStreamError("the AV1 stream changes its sequence header")
        self._headers.add(payload)
        self._is_still_picture = bool(payload[0] & 0x08)  # reduced_still_picture_header

    def scan(self, packet: bytes) -> Picture:
        """Describe the next packet: at most one shown frame."""
        num_shown, starts, has_sequence_header = 0, [], False
        for kind, payload in _av1_units(packet):
            self._meet_header(kind, payload)
            has_sequence_header |= kind == 1
            if kind not in (3, 6):
                continue
            reader = BitReader(payload[:1])
            if self._is_still_picture:
                is_key = is_shown = True
            elif reader.bits(1):  # show_existing_frame
                is_key, is_shown = False, True
            else:
                is_key, is_shown = reader.bits(2) == 0, bool(reader.bits(1))
            num_shown += is_shown
            starts.append(is_key and is_shown)
        if num_shown > 1 or not starts:
            raise UnverifiedStreamError("an AV1 packet shows more than one frame")
        is_start = starts[0] and has_sequence_header
        _require_start(self._is_first, is_start, "AV1")
        self._is_first = False
        return Picture(is_start=is_start, is_shown=num_shown == 1)


def _av1_units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (obu_type, payload) of each open bitstream unit."""
    position = 0
    while position < len(data):
        header = data[position]
        position += 1
        if header & 4:
            if position >= len(data) or data[position] & 0x18:
                raise UnverifiedStreamError("the AV1 stream has spatial layers")
            position += 1
        size = len(data) - position
        if header & 2:
            size = shift = 0
            while position < len(data):
                byte = data[position]
                position += 1
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
        if position + size > len(data) or (size == 0 and header >> 3 & 15 in (1, 3, 6)):
            raise UnverifiedStreamError("an AV1 unit is longer than its packet")
        yield header >> 3 & 15, data[position : position + size]
        position += size
