"""MPEG-1, MPEG-2 and MPEG-4 part 2 pictures, from their start codes.

Their decoders output pictures in an order that the picture types alone fix: a B picture at once, an I or P
picture when the next I or P picture arrives.
Sources: ISO/IEC 11172-2, 13818-2 (6.2, 6.3), 14496-2 (6.2, 6.3).
"""

from collections.abc import Iterator

from tsn_tsm_plugin.data.bitstream.bit_reader import BitReader
from tsn_tsm_plugin.data.bitstream.picture import Picture, UnverifiedStreamError


def _start_codes(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (code, position after the code) of each 00 00 01 xx."""
    position = data.find(b"\0\0\1")
    while 0 <= position < len(data) - 3:
        yield data[position + 3], position + 4
        position = data.find(b"\0\0\1", position + 3)


class MpegVideoPictures:
    """MPEG-1 and MPEG-2 video: decoding starts at I pictures behind a sequence header."""

    order = "types"

    def __init__(self, extradata: bytes) -> None:
        del extradata
        self._has_low_delay = False
        self._num_references = 0

    def scan(self, packet: bytes) -> Picture:
        """Describe the next packet: exactly one frame, coded as a frame."""
        kinds, has_sequence_header = [], False
        for code, position in _start_codes(packet):
            if code == 0x00:
                kinds.append(packet[position + 1] >> 3 & 7)
            elif code == 0xB3:
                has_sequence_header = True
            elif code == 0xB5:
                self._read_extension(packet[position : position + 8])
            elif code == 0xB7 and position < len(packet):
                raise UnverifiedStreamError("the MPEG stream ends and begins again")
        if len(kinds) != 1 or kinds[0] not in (1, 2, 3):
            raise UnverifiedStreamError("an MPEG packet holds other than one picture")
        is_bidirectional = kinds[0] == 3
        if is_bidirectional and (self._num_references < 2 or self._has_low_delay):
            raise UnverifiedStreamError("the MPEG stream has B pictures without both their references")
        is_start = kinds[0] == 1 and has_sequence_header
        if self._num_references == 0 and not is_start:
            raise UnverifiedStreamError("the MPEG stream does not begin with a sequence header")
        self._num_references += not is_bidirectional
        return Picture(is_start, is_droppable=is_bidirectional, is_bidirectional=is_bidirectional)

    def _read_extension(self, extension: bytes) -> None:
        kind = extension[0] >> 4
        if kind == 1:
            self._has_low_delay |= bool(extension[5] & 0x80)
        elif kind == 8 and extension[2] & 3 != 3:
            raise UnverifiedStreamError("the MPEG-2 stream codes single fields")


class Mpeg4Pictures:
    """MPEG-4 part 2: decoding starts at I-VOPs; packed and empty VOPs are left to plain decoding."""

    order = "types"
    # An uncoded VOP, which gives no frame, is its header alone; a coded one of any useful size is longer.
    _min_packet_bytes = 13

    def __init__(self, extradata: bytes) -> None:
        self._shows_at_once: bool | None = None
        self._num_references = 0
        self._layers: set[bytes] = set()
        for code, position in _start_codes(extradata):
            self._read_layer(code, extradata, position)

    def scan(self, packet: bytes) -> Picture:
        """Describe the next packet: exactly one coded VOP."""
        kinds = []
        for code, position in _start_codes(packet):
            if code == 0xB6:
                kinds.append(packet[position] >> 6 if position < len(packet) else -1)
            self._read_layer(code, packet, position)
        if len(kinds) != 1 or len(packet) < self._min_packet_bytes:
            raise UnverifiedStreamError("an MPEG-4 packet holds other than one coded picture")
        is_bidirectional = kinds[0] == 2
        if self._num_references == 0 and kinds[0] != 0:
            raise UnverifiedStreamError("the MPEG-4 stream does not begin with an I picture")
        if is_bidirectional and (self._num_references < 2 or self._shows_at_once is not False):
            raise UnverifiedStreamError("the MPEG-4 stream has B pictures that its header denies")
        self._num_references += not is_bidirectional
        return Picture(kinds[0] == 0, is_droppable=is_bidirectional, is_bidirectional=is_bidirectional)

    def _read_layer(self, code: int, data: bytes, position: int) -> None:
        """Read low_delay of a video object layer header, which must not change in the stream."""
        if not 0x20 <= code <= 0x2F:
            return
        header = data[position : position + 16]
        end = header.find(b"\0\0\1")
        self._layers.add(header if end < 0 else header[:end])
        if len(self._layers) > 1:
            raise UnverifiedStreamError("the MPEG-4 stream changes its layer header")
        reader = BitReader(header)
        reader.bits(9)  # random_accessible_vol, video_object_type_indication
        if reader.bits(1):
            reader.bits(7)
        if reader.bits(4) == 15:
            reader.bits(16)
        self._shows_at_once = bool(reader.bits(3) & 1) if reader.bits(1) else None
