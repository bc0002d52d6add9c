"""HevcPictures: read the properties of HEVC pictures from the slice headers.

Sources: ITU-T H.265 7.3, 7.4, 8.3.2 and D.2; ISO/IEC 14496-15 8.3.3 (hvcC).
"""

from tsn_tsm_plugin.data.bitstream.bit_reader import BitReader, without_emulation_prevention
from tsn_tsm_plugin.data.bitstream.hevc_parameter_sets import (
    SequenceSet,
    read_reference_set,
    read_sequence_set,
)
from tsn_tsm_plugin.data.bitstream.nal_units import (
    NalPictures,
    OrderCounter,
    length_prefixed,
    sei_messages,
    split_nal_units,
)
from tsn_tsm_plugin.data.bitstream.picture import CodedPicture, UnverifiedStreamError

_TRAILING, _LEADING = frozenset(range(6)), frozenset(range(6, 10))
_IDR, _RANDOM_ACCESS = frozenset({19, 20}), frozenset({19, 20, 21})
_PICTURES = _TRAILING | _LEADING | _RANDOM_ACCESS
_VIDEO_SET, _SEQUENCE_SET, _PICTURE_SET = 32, 33, 34
# Access unit delimiters (which only repeat the slice types) and filler.
_EMPTY_UNITS = {35, 38}
_MESSAGES = {39, 40}
_PICTURE_TIMING = 1
_HARMLESS_MESSAGES = {
    0,  # Buffering period: timing of a hardware buffer.
    3,  # Filler.
    4,  # Registered user data: captions and display hints, which do not change pixels.
    5,  # Unregistered user data: FFmpeg has no workarounds for bugs of HEVC encoders.
    6,  # Recovery point: unused, because decoding starts at random access pictures only.
    129,  # Active parameter sets: slice headers also name them.
    130,  # Decoding unit: timing of a hardware buffer.
    132,  # Hash of the decoded picture, which is not compared.
    137,  # Colour volume of the mastering display, which does not change pixels.
    144,  # Light level of the content, which does not change pixels.
}


class HevcPictures(NalPictures):
    """HEVC: decoding starts at IDR and CRA pictures; every picture that a slice names must exist.

    No picture refers to a sub-layer non-reference picture of the highest temporal sub-layer.
    """

    _sequence_set_type = _SEQUENCE_SET
    _parameter_set_types = frozenset({_VIDEO_SET, _SEQUENCE_SET, _PICTURE_SET})

    def __init__(self, extradata: bytes) -> None:
        self._sequence_set: SequenceSet | None = None
        self._num_extra_bits: dict[int, int] = {}
        self._counter = OrderCounter()
        # Order counts of the possible reference pictures, and of the last random access picture.
        self._kept: set[int] = set()
        self._random_access = 0
        super().__init__(extradata)

    def _type(self, header: int) -> int:
        return header >> 1 & 63

    def _parse_configuration(self, extradata: bytes) -> tuple[int, list[bytes]]:
        nal_units, position = [], 23
        for _ in range(extradata[22]):
            count = int.from_bytes(extradata[position + 1 : position + 3], "big")
            array, position = length_prefixed(extradata, position + 3, count)
            nal_units += array
        return (extradata[21] & 3) + 1, nal_units

    def _read_parameter_set(self, kind: int, nal_unit: bytes) -> int:
        if kind == _VIDEO_SET:
            return nal_unit[2] >> 4
        if kind == _SEQUENCE_SET:
            self._sequence_set = read_sequence_set(nal_unit)
            return self._sequence_set.number
        reader = BitReader(without_emulation_prevention(nal_unit[2:]))
        number = reader.unsigned_golomb()
        reader.unsigned_golomb()  # pps_seq_parameter_set_id
        if reader.bits(2) & 1:
            raise UnverifiedStreamError("the HEVC stream may hide pictures (output_flag_present_flag)")
        self._num_extra_bits[number] = reader.bits(3)
        return number

    def scan(self, packet: bytes) -> CodedPicture:
        """Describe the next packet, which must be one picture of the base layer in one slice segment."""
        slices = []
        for start, end in split_nal_units(packet, self._length_size):
            header = int.from_bytes(packet[start : start + 3].ljust(3, b"\0"), "big")
            kind, layer, sub_layer = header >> 17 & 63, header >> 11 & 63, (header >> 8 & 7) - 1
            if layer:
                raise UnverifiedStreamError("the HEVC stream has several layers")
            if kind in _PICTURES:
                if kind in _RANDOM_ACCESS and header & 0x40 and self._num_scanned:
                    raise UnverifiedStreamError("the HEVC stream drops pictures (no_output_of_prior_pics)")
                slices.append((kind, sub_layer, packet[start + 2 : min(end, start + 66)]))
            elif kind in self._parameter_set_types:
                self._meet_parameter_set(packet[start:end])
            elif kind in _MESSAGES:
                for message, content in sei_messages(packet[start + 2 : end]):
                    _check_message(message, content)
            elif kind not in _EMPTY_UNITS:
                raise UnverifiedStreamError(f"an HEVC packet holds a NAL unit of type {kind}")
        if len(slices) != 1 or slices[0][2][:1] < b"\x80":  # first_slice_segment_in_pic_flag
            raise UnverifiedStreamError("an HEVC packet holds other than one picture in one slice segment")
        picture = self._picture(*slices[0])
        self._num_scanned += 1
        return picture

    def _picture(self, kind: int, sub_layer: int, slice_header: bytes) -> CodedPicture:
        layout = self._sequence_set
        is_start = kind in _RANDOM_ACCESS
        if layout is None or (self._num_scanned == 0 and not is_start):
            raise UnverifiedStreamError("the HEVC stream does not begin with a random access picture")
        reader = BitReader(without_emulation_prevention(slice_header))
        reader.bits(2 if is_start else 1)
        number = reader.unsigned_golomb()
        if number not in self._num_extra_bits:
            raise UnverifiedStreamError("the HEVC stream lacks a picture parameter set")
        reader.bits(self._num_extra_bits[number])
        reader.unsigned_golomb()  # slice_type
        reader.bits(2 * layout.has_colour_plane)
        is_idr = kind in _IDR
        low_bits = 0 if is_idr else reader.bits(layout.order_count_bits)
        order_count = self._counter.count(
            low_bits,
            layout.order_count_bits,
            is_reset=is_idr or self._num_scanned == 0,
            is_anchor=sub_layer == 0 and kind not in _LEADING and (is_start or kind % 2 == 1),
        )
        references = set() if is_idr else self._references(reader, layout, order_count[1])
        is_droppable = not is_start and kind % 2 == 0 and sub_layer == layout.highest_sub_layer
        self._check_references(kind, order_count[1], references, is_droppable=is_droppable)
        return CodedPicture(is_start=is_start, is_droppable=is_droppable, order_count=order_count)

    def _references(self, reader: BitReader, layout: SequenceSet, order_count: int) -> set[int]:
        """Return the order counts of the pictures that this picture or later pictures refer to."""
        num_sets = len(layout.reference_sets)
        if not reader.bits(1):  # short_term_ref_pic_set_sps_flag
            distances = read_reference_set(reader, layout.reference_sets, is_in_slice=True)
        else:
            number = reader.bits((num_sets - 1).bit_length()) if num_sets > 1 else 0
            if number >= num_sets:
                raise UnverifiedStreamError("an HEVC picture names a set of references that is missing")
            distances = layout.reference_sets[number]
        if layout.has_long_term and reader.unsigned_golomb():
            raise UnverifiedStreamError("the HEVC stream has long-term references")
        return {order_count + distance for distance in distances}

    def _check_references(
        self, kind: int, order_count: int, references: set[int], *, is_droppable: bool
    ) -> None:
        """Refuse references that are missing, precede the keyframe, or are dropped by sparse reading."""
        if kind in _IDR or self._num_scanned == 0:
            self._kept = set()
        if kind in _RANDOM_ACCESS:
            self._random_access = order_count
        elif (kind in _LEADING) != (order_count < self._random_access):
            raise UnverifiedStreamError("an HEVC picture is displayed on the wrong side of its keyframe")
        if not references <= self._kept:
            raise UnverifiedStreamError("an HEVC reference picture is missing")
        if kind in _TRAILING and any(reference < self._random_access for reference in references):
            raise UnverifiedStreamError("an HEVC picture refers to pictures before its keyframe")
        self._kept = references if is_droppable else references | {order_count}


def _check_message(kind: int, content: bytes) -> None:
    # Picture timing begins with pic_struct if the stream has it, otherwise with a delay, mostly 0.
    is_harmless = content[:1] < b"\x10" if kind == _PICTURE_TIMING else kind in _HARMLESS_MESSAGES
    if not is_harmless:
        raise UnverifiedStreamError(f"the HEVC stream has supplemental information of type {kind}")
