"""SequenceSet, read_reference_set: parameter sets that HEVC slice headers need to reference pictures.

Source: ITU-T H.265 7.3.2.2.1, 7.3.3, 7.3.4, 7.3.7 and 7.4.8.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tsn_tsm_plugin.data.bitstream.bit_reader import BitReader, without_emulation_prevention
from tsn_tsm_plugin.data.bitstream.picture import UnverifiedStreamError

_MAX_REFERENCES = 16
_MAX_REFERENCE_SETS = 64


class SequenceSet(NamedTuple):
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


def read_sequence_set(nal_unit: bytes) -> SequenceSet:
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
    return SequenceSet(
        number, highest_sub_layer, has_colour_plane, order_count_bits, reference_sets, has_long_term
    )


def _read_reference_sets(reader: BitReader) -> tuple[tuple[int, ...], ...]:
    num_sets = reader.unsigned_golomb()
    if num_sets > _MAX_REFERENCE_SETS:
        raise UnverifiedStreamError(f"an HEVC sequence parameter set has {num_sets} sets of references")
    reference_sets: list[tuple[int, ...]] = []
    for _ in range(num_sets):
        reference_sets.append(read_reference_set(reader, reference_sets, is_in_slice=False))
    return tuple(reference_sets)


def read_reference_set(
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
