"""Vp9Pictures, Av1Pictures: find packets that show a frame, and packets at which decoding may start.

Packets come in the order of display; pictures that only serve as references are hidden. A keyframe replaces
all references and all probabilities, so later pictures do not depend on earlier ones. Sources: VP9 bitstream
specification 6.2, 7.2 and annex B; AV1 bitstream specification 5.3, 5.9 and 7.20.
"""

from collections.abc import Iterator

from tsn_tsm_plugin.data.bitstream.bit_reader import BitReader
from tsn_tsm_plugin.data.bitstream.picture import CodedPicture, UnverifiedStreamError


def _require_start(is_first: bool, is_start: bool, codec: str) -> None:
    if is_first and not is_start:
        raise UnverifiedStreamError(f"the {codec} stream does not begin with a keyframe")


class Vp9Pictures:
    """VP9: a packet is a frame, or a superframe with hidden frames; all keyframes have one format."""

    order = "decoding"

    def __init__(self, extradata: bytes) -> None:
        del extradata
        self._is_first = True
        self._format: int | None = None

    def scan(self, packet: bytes) -> CodedPicture:
        """Describe the next packet: at most one shown frame."""
        num_shown, starts = 0, []
        for frame in _vp9_frames(packet):
            reader = BitReader(frame[:12])
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
            reader.bits(1)
            if starts[-1]:
                self._check_format(reader, profile)
        if num_shown > 1 or not starts:
            raise UnverifiedStreamError("a VP9 packet shows more than one frame")
        _require_start(self._is_first, starts[0], "VP9")
        self._is_first = False
        return CodedPicture(is_start=starts[0], is_shown=num_shown == 1)

    def _check_format(self, reader: BitReader, profile: int) -> None:
        """Refuse a keyframe of another profile, depth, colour or size (6.2.2, 6.2.3)."""
        # After the colour space: the range, the chroma layout in odd profiles, and the two sizes.
        format_bits = 24 + (profile >= 2) + 3 + 1 + 3 * (profile % 2) + 32
        found = profile << 64 | reader.bits(format_bits)
        if self._format not in (None, found):
            raise UnverifiedStreamError("the VP9 stream changes its format")
        self._format = found


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
        if not size or position + size > len(packet) - index_bytes:
            raise UnverifiedStreamError("the sizes of a VP9 superframe do not fit its packet")
        yield packet[position : position + size]
        position += size


_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_HARMLESS_UNITS = {
    2,  # Temporal delimiter: start of a packet.
    4,  # Tile group: pixels of the frame with the preceding header.
    5,  # Metadata: captions, time codes and display hints, which do not change pixels.
    15,  # Padding.
}


class Av1Pictures:
    """AV1: decoding starts at a shown key frame in a temporal unit with the one sequence header."""

    order = "decoding"

    def __init__(self, extradata: bytes) -> None:
        del extradata  # Packets repeat its sequence header, but some encoders write different bytes.
        self._is_first = True
        self._header: bytes | None = None

    def _meet_header(self, payload: bytes) -> None:
        if self._header not in (None, payload):
            raise UnverifiedStreamError("the AV1 stream changes its sequence header")
        if payload[0] & 0x18:  # still_picture, reduced_still_picture_header
            raise UnverifiedStreamError("the AV1 stream is a still picture")
        self._header = payload

    def scan(self, packet: bytes) -> CodedPicture:
        """Describe the next packet: at most one shown frame."""
        num_shown, starts, has_sequence_header = 0, [], False
        for kind, payload in _av1_units(packet):
            if kind == _SEQUENCE_HEADER:
                self._meet_header(payload)
                has_sequence_header = True
            elif kind in (_FRAME_HEADER, _FRAME):
                reader = BitReader(payload[:1])
                if reader.bits(1):  # show_existing_frame
                    is_key, is_shown = False, True
                else:
                    is_key, is_shown = reader.bits(2) == 0, bool(reader.bits(1))
                num_shown += is_shown
                starts.append(is_key and is_shown)
            elif kind not in _HARMLESS_UNITS:
                raise UnverifiedStreamError(f"an AV1 packet holds a unit of type {kind}")
        if num_shown > 1 or not starts:
            raise UnverifiedStreamError("an AV1 packet shows more than one frame")
        is_start = starts[0] and has_sequence_header
        _require_start(self._is_first, is_start, "AV1")
        self._is_first = False
        return CodedPicture(is_start=is_start, is_shown=num_shown == 1)


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
