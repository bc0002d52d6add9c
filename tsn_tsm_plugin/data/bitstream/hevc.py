"""HevcPictures: read the properties of HEVC pictures from parameter sets and slice headers.

Sources: ITU-T H.265 7.3, 7.4, 8.3.2 and D.2; ISO/IEC 14496-15 8.3.3 (hvcC).
"""

from collections.abc import Sequence
from typing import NamedTuple

from tsn_tsm_plugin.data.bitstream.bit_reader import BitReader, without_emulation_prevention
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


_MAX_REFERENCES = 16
_MAX_REFERENCE_SETS = 64


class _SequenceSet(NamedTuple):
    """A sequence parameter set.

    Attributes:
        number: sps_seq_parameter_set_id.
        highest_sub_layer: sps_max_sub_layers_minus1.
        has_colour_plane: Whether slice headers contain a colour plane number.
        order_count_bits: Bits of slice_pic_order_cnt_lsb.
        reference_sets: Sets of reference pictures that slices select by number.
        has_long_term: Whether slice headers contain long-term references.
    """

    number: int
    highest_sub_layer: int
    has_colour_plane: bool
    order_count_bits: int
    reference_sets: tuple[tuple[int, ...], ...]
    has_long_term: bool


class HevcPictures(NalPictures):
    """HEVC: decoding starts at IDR and CRA pictures; every picture that a slice names must exist.

    No picture refers to a sub-layer non-reference picture of the highest temporal sub-layer.
    """

    _type_shift, _type_mask = 1, 63
    _sequence_set_type = _SEQUENCE_SET
    _parameter_set_types = frozenset({_VIDEO_SET, _SEQUENCE_SET, _PICTURE_SET})

    def __init__(self, extradata: bytes) -> None:
        self._sequence_set: _SequenceSet | None = None
        self._num_extra_bits: dict[int, int] = {}
        self._counter = OrderCounter()
        # Order counts of the possible reference pictures, and of the last random access picture.
        self._kept: set[int] = set()
        self._random_access = 0
        super().__init__(extradata)

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
            self._sequence_set = _read_sequence_set(nal_unit)
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

    def _references(self, reader: BitReader, layout: _SequenceSet, order_count: int) -> set[int]:
        """Return the order counts of the pictures that this picture or later pictures refer to."""
        num_sets = len(layout.reference_sets)
        if not reader.bits(1):  # short_term_ref_pic_set_sps_flag
            distances = _read_reference_set(reader, layout.reference_sets, is_in_slice=True)
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


def _read_sequence_set(nal_unit: bytes) -> _SequenceSet:
    """Read a sequence parameter set of the base layer.

    Raises:
        UnverifiedStreamError: If the set names long-term references, or is invalid.
    """
    reader = BitReader(without_emulation_prevention(nal_unit[2:]))
    reader.bits(4)
    highest_sub_layer = reader.bits(3)
    reader.bits(1 + 96)  # sps_temporal_id_nesting_flag; general profile, tier and level
    layers = [(reader.bits(1), reader.bits(1)) for _ in range(8 if highest_sub_layer else 0)]
    for has_profile, has_level in layers[:highest_sub_layer]:
        reader.bits(88 * has_profile + 8 * has_level)
    number = reader.unsigned_golomb()
    has_colour_plane = reader.unsigned_golomb() == 3 and bool(reader.bits(1))
    reader.skip_golombs(2)  # width and height
    if reader.bits(1):  # conformance_window_flag
        reader.skip_golombs(4)
    reader.skip_golombs(2)  # bit depths of luma and chroma
    order_count_bits = reader.unsigned_golomb() + 4
    # Skip the sizes of the decoded picture buffer and the sizes and depths of blocks.
    reader.skip_golombs(3 * (highest_sub_layer + 1 if reader.bits(1) else 1) + 6)
    if reader.bits(1) and reader.bits(1):
        _skip_scaling_lists(reader)
    reader.bits(2)  # asymmetric partitions, sample adaptive offset
    if reader.bits(1):  # uncompressed blocks
        reader.bits(8)
        reader.skip_golombs(2)
        reader.bits(1)
    reference_sets = _read_reference_sets(reader)
    has_long_term = bool(reader.bits(1))
    if has_long_term and reader.unsigned_golomb():
        raise UnverifiedStreamError("the HEVC stream has long-term references")
    return _SequenceSet(
        number, highest_sub_layer, has_colour_plane, order_count_bits, reference_sets, has_long_term
    )


def _read_reference_sets(reader: BitReader) -> tuple[tuple[int, ...], ...]:
    num_sets = reader.unsigned_golomb()
    if num_sets > _MAX_REFERENCE_SETS:
        raise UnverifiedStreamError(f"an HEVC sequence parameter set has {num_sets} sets of references")
    reference_sets: list[tuple[int, ...]] = []
    for _ in range(num_sets):
        reference_sets.append(_read_reference_set(reader, reference_sets, is_in_slice=False))
    return tuple(reference_sets)


def _read_reference_set(
    reader: BitReader, known: Sequence[tuple[int, ...]], *, is_in_slice: bool
) -> tuple[int, ...]:
    """Read st_ref_pic_set(): distances in the order of display to the pictures that must be kept.

    Args:
        reader: Reader at the start of the set.
        known: The earlier sets of the sequence parameter set.
        is_in_slice: Whether a slice header contains the set.

    Returns:
        Negative distances, nearest first, then positive distances, nearest first.
    """
    if known and reader.bits(1):  # inter_ref_pic_set_prediction_flag
        back = reader.unsigned_golomb() + 1 if is_in_slice else 1
        sign = reader.bits(1)
        step = (reader.unsigned_golomb() + 1) * (1 - 2 * sign)
        if back > len(known):
            raise UnverifiedStreamError("an HEVC reference set is predicted from a missing set")
        distances = []
        for distance in (*known[-back], 0):
            # A picture is kept if the current picture or a later picture uses it.
            if (reader.bits(1) or reader.bits(1)) and distance + step:
                distances.append(distance + step)
        return _in_order(distances)
    num_negative, num_positive = reader.unsigned_golomb(), reader.unsigned_golomb()
    if num_negative + num_positive > _MAX_REFERENCES:
        raise UnverifiedStreamError("an HEVC picture has more references than the standard allows")
    distances = []
    for count, sign in ((num_negative, -1), (num_positive, 1)):
        distance = 0
        for _ in range(count):
            distance += sign * (reader.unsigned_golomb() + 1)
            reader.bits(1)  # used_by_curr_pic_flag
            distances.append(distance)
    return tuple(distances)


def _in_order(distances: Sequence[int]) -> tuple[int, ...]:
    negative = sorted((d for d in distances if d < 0), reverse=True)
    return (*negative, *sorted(d for d in distances if d > 0))


def _skip_scaling_lists(reader: BitReader) -> None:
    for size in range(4):
        for _ in range(0, 6, 3 if size == 3 else 1):
            # The list itself, or the number of another list.
            reader.skip_golombs((size > 1) + min(64, 1 << (4 + 2 * size)) if reader.bits(1) else 1)
