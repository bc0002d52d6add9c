"""NalPictures, split_nal_units, sei_messages, OrderCounter: common parts of the H.264 and HEVC parsers.

Sources: ITU-T H.264 and H.265, annex B of each; ISO/IEC 14496-15.
"""

from collections.abc import Iterator

from tsn_tsm_plugin.data.bitstream.bit_reader import without_emulation_prevention
from tsn_tsm_plugin.data.bitstream.picture import UnverifiedStreamError


def split_nal_units(data: bytes, length_size: int) -> Iterator[tuple[int, int]]:
    """Yield the half-open byte range of each NAL unit.

    Args:
        data: A packet, or extradata in the byte stream format.
        length_size: Bytes of the length before each NAL unit; 0 for the byte stream format, which separates
            NAL units by start codes.
    """
    position, end = 0, len(data)
    if length_size:
        while position < end:
            start = position + length_size
            position = start + int.from_bytes(data[position:start], "big")
            if not start < position <= end:
                raise UnverifiedStreamError("the lengths of the NAL units do not fill the packet")
            yield start, position
        return
    start = data.find(b"\0\0\1") + 3
    while start >= 3:
        following = data.find(b"\0\0\1", start)
        yield start, (following if following >= 0 else end)
        start = following + 3


def length_prefixed(data: bytes, position: int, count: int) -> tuple[list[bytes], int]:
    """Return ``count`` NAL units with two-byte lengths, and the position after the last unit."""
    nal_units = []
    for _ in range(count):
        start = position + 2
        position = start + int.from_bytes(data[position:start], "big")
        nal_units.append(data[start:position])
    return nal_units, position


def sei_messages(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of each message of supplemental information (H.264 and H.265 7.3.2.3).

    Args:
        payload: A NAL unit without its header.
    """
    data = without_emulation_prevention(payload).rstrip(b"\0")
    position, end = 0, len(data) - 1  # The last byte is the trailing bit.
    while position < end:
        numbers = []
        for _ in range(2):
            number = 0
            while data[position] == 0xFF:
                number, position = number + 0xFF, position + 1
            numbers.append(number + data[position])
            position += 1
        kind, size = numbers
        if position + size > len(data):
            raise UnverifiedStreamError("supplemental information is cut short")
        yield kind, data[position : position + size]
        position += size


class NalPictures:
    """Parameter sets, which must all come with the first packet and never change.

    Decoding from a later packet would miss a set that arrives in between. Two sets of one number, or two
    sequence parameter sets, indicate a concatenated stream.
    """

    order = "pts"
    # The type of a NAL unit is ``first byte >> shift & mask``.
    _type_shift: int
    _type_mask: int
    _sequence_set_type: int
    _parameter_set_types: frozenset[int]

    def __init__(self, extradata: bytes) -> None:
        self._num_scanned = 0
        self._parameter_sets: dict[tuple[int, int], bytes] = {}
        if extradata[:1] == b"\1":
            self._length_size, nal_units = self._parse_configuration(extradata)
        else:
            self._length_size = 0
            nal_units = [extradata[start:end] for start, end in split_nal_units(extradata, 0)]
        for nal_unit in nal_units:
            if nal_unit and self._type(nal_unit) in self._parameter_set_types:
                self._meet_parameter_set(nal_unit)

    def _parse_configuration(self, extradata: bytes) -> tuple[int, list[bytes]]:
        raise NotImplementedError

    def _type(self, nal_unit: bytes) -> int:
        return nal_unit[0] >> self._type_shift & self._type_mask

    def _read_parameter_set(self, kind: int, nal_unit: bytes) -> int:
        """Read a new parameter set and return its number."""
        raise NotImplementedError

    def _meet_parameter_set(self, nal_unit: bytes) -> None:
        nal_unit = nal_unit.rstrip(b"\0")
        if nal_unit in self._parameter_sets.values():
            return
        if self._num_scanned > 0:
            raise UnverifiedStreamError("the parameter sets change after the first packet")
        kind = self._type(nal_unit)
        key = kind, self._read_parameter_set(kind, nal_unit)
        if key in self._parameter_sets or (
            kind == self._sequence_set_type and any(other == kind for other, _ in self._parameter_sets)
        ):
            raise UnverifiedStreamError("the stream has several parameter sets where one is expected")
        self._parameter_sets[key] = nal_unit


class OrderCounter:
    """Complete picture order counts; slices contain only the low bits (H.264 8.2.1.1, H.265 8.3.1)."""

    def __init__(self) -> None:
        self._period = 0
        self._previous = 0

    def count(self, low_bits: int, num_bits: int, *, is_reset: bool, is_anchor: bool) -> tuple[int, int]:
        """Return a key that grows in the order of display.

        Args:
            low_bits: Low bits in the slice.
            num_bits: Number of the low bits.
            is_reset: Whether counting starts again, as at an IDR picture.
            is_anchor: Whether later counts are derived from this count.
        """
        size = 1 << num_bits
        if is_reset:
            self._period += 1
            self._previous = 0
        # The count closest to the previous count; a tie goes up.
        step = (low_bits - self._previous + size // 2 - 1) % size - (size // 2 - 1)
        full = low_bits if is_reset else self._previous + step
        if is_anchor:
            self._previous = full
        return self._period, full
