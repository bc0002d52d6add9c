"""What H.264 and HEVC share: NAL units, parameter sets and the order of display.

Sources: ITU-T H.264 and H.265, annex B of each; ISO/IEC 14496-15.
"""

from collections.abc import Iterator

from tsn_tsm_plugin.data.bitstream.picture import UnverifiedStreamError


def split_nal_units(data: bytes, length_size: int) -> Iterator[tuple[int, int]]:
    """Yield the half-open byte range of each NAL unit.

    Args:
        data: A packet, or extradata in the byte stream format.
        length_size: Bytes of the length before each NAL unit; 0 for the byte stream format, where start
            codes separate them.
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
    """Split ``count`` NAL units with lengths of two bytes; return them and the position behind them."""
    nal_units = []
    for _ in range(count):
        start = position + 2
        position = start + int.from_bytes(data[position:start], "big")
        nal_units.append(data[start:position])
    return nal_units, position


class NalPictures:
    """What both codecs share: splitting packets, and parameter sets that must never change.

    A parameter set that arrives after the first packet would be missing where decoding starts later.
    """

    order = "pts"
    _parameter_set_types: frozenset[int]

    def __init__(self, extradata: bytes) -> None:
        self._num_scanned = 0
        self._parameter_sets: set[bytes] = set()
        if extradata[:1] == b"\1":
            self._length_size, nal_units = self._parse_configuration(extradata)
        else:
            self._length_size = 0
            nal_units = [extradata[start:end] for start, end in split_nal_units(extradata, 0)]
        for nal_unit in nal_units:
            if nal_unit and self._type(nal_unit[0]) in self._parameter_set_types:
                self._meet_parameter_set(nal_unit)

    def _parse_configuration(self, extradata: bytes) -> tuple[int, list[bytes]]:
        raise NotImplementedError

    def _type(self, header: int) -> int:
        raise NotImplementedError

    def _read_parameter_set(self, kind: int, nal_unit: bytes) -> None:
        raise NotImplementedError

    def _meet_parameter_set(self, nal_unit: bytes) -> None:
        nal_unit = nal_unit.rstrip(b"\0")
        if nal_unit in self._parameter_sets:
            return
        if self._num_scanned > 0:
            raise UnverifiedStreamError("the parameter sets change after the first packet")
        self._parameter_sets.add(nal_unit)
        self._read_parameter_set(self._type(nal_unit[0]), nal_unit)


class OrderCounter:
    """Completes picture order counts, whose low bits slices carry (H.264 8.2.1.1, H.265 8.3.1)."""

    def __init__(self) -> None:
        self._period = 0
        self._previous = 0

    def count(self, low_bits: int, num_bits: int, *, is_reset: bool, is_anchor: bool) -> tuple[int, int]:
        """Return a key that grows in the order of display.

        Args:
            low_bits: What the slice carries.
            num_bits: How many bits that is.
            is_reset: Counting starts again, as at an IDR picture.
            is_anchor: Later counts are told from this one.
        """
        size = 1 << num_bits
        if is_reset:
            self._period += 1
            self._previous = 0
        # The count closest to the previous one; a tie of half the size goes up.
        step = (low_bits - self._previous + size // 2 - 1) % size - (size // 2 - 1)
        full = low_bits if is_reset else self._previous + step
        if is_anchor:
            self._previous = full
        return self._period, full
