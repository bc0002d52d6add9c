"""HEVC pictures, from the headers of their slices and parameter sets.

Sources: ITU-T H.265 7.3 and 7.4; ISO/IEC 14496-15 8.3.3 (hvcC).
"""

from tsn_tsm_plugin.data.bitstream.bit_reader import BitReader, without_emulation_prevention
from tsn_tsm_plugin.data.bitstream.nal_units import (
    NalPictures,
    OrderCounter,
    length_prefixed,
    split_nal_units,
)
from tsn_tsm_plugin.data.bitstream.picture import Picture, UnverifiedStreamError


class HevcPictures(NalPictures):
    """HEVC: decoding starts at IDR and CRA pictures.

    A sub-layer non-reference picture of the highest temporal sub-layer is referred to by none. The RASL
    pictures of a CRA picture that opens the stream have no reference and give no frame.
    """

    _parameter_set_types = frozenset({32, 33, 34})

    def __init__(self, extradata: bytes) -> None:
        self._highest_sub_layer = 0
        self._has_lost_leading = False
        self._layouts: set[tuple[bool, int]] = set()
        self._num_extra_bits: set[int] = set()
        self._counter = OrderCounter()
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

    def _read_parameter_set(self, kind: int, nal_unit: bytes) -> None:
        if kind == 33:
            self._highest_sub_layer = max(self._highest_sub_layer, nal_unit[2] >> 1 & 7)
            self._layouts.add(_sequence_layout(nal_unit))
        elif kind == 34:
            reader = BitReader(without_emulation_prevention(nal_unit[2:]))
            reader.unsigned_golomb()  # picture and sequence parameter set ids
            reader.unsigned_golomb()
            if reader.bits(2) & 1:
                raise UnverifiedStreamError("the HEVC stream may hide pictures (output_flag_present_flag)")
            self._num_extra_bits.add(reader.bits(3))

    def scan(self, packet: bytes) -> Picture:
        """Describe the next packet: exactly one picture of the base layer."""
        num_pictures, slice_header = 0, b""
        kinds, sub_layers = set(), set()
        for start, end in split_nal_units(packet, self._length_size):
            header = int.from_bytes(packet[start : start + 3].ljust(3, b"\0"), "big")
            kind, layer, sub_layer = header >> 17 & 63, header >> 11 & 63, (header >> 8 & 7) - 1
            if layer:
                continue
            if kind < 32:
                kinds.add(kind)
                sub_layers.add(sub_layer)
                if header & 0x80:  # first_slice_segment_in_pic_flag
                    num_pictures += 1
                    slice_header = packet[start + 2 : min(end, start + 18)]
                if kind >= 16 and header & 0x40 and self._num_scanned:
                    raise UnverifiedStreamError("the HEVC stream drops pictures (no_output_of_prior_pics)")
            elif kind in self._parameter_set_types:
                self._meet_parameter_set(packet[start:end])
            elif kind in (36, 37):
                raise UnverifiedStreamError("the HEVC stream ends and begins again")
        if num_pictures != 1 or len(kinds) != 1 or len(sub_layers) != 1:
            raise UnverifiedStreamError("an HEVC packet holds other than one picture")
        self._num_scanned += 1
        return self._picture(kinds.pop(), sub_layers.pop(), slice_header)

    def _picture(self, kind: int, sub_layer: int, slice_header: bytes) -> Picture:
        is_random_access = 16 <= kind <= 23
        if is_random_access and kind not in (19, 20, 21):
            raise UnverifiedStreamError(f"the HEVC stream holds a picture of type {kind}")
        if self._num_scanned == 1 and not is_random_access:
            raise UnverifiedStreamError("the HEVC stream does not begin with a random access picture")
        order_count = self._order_count(kind, sub_layer, slice_header)
        if is_random_access:
            self._has_lost_leading = self._num_scanned == 1 and kind == 21
            return Picture(is_start=True, order_count=order_count)
        is_non_reference = kind < 16 and kind % 2 == 0
        is_lost = self._has_lost_leading and kind in (8, 9)
        return Picture(
            is_start=False,
            is_droppable=is_lost or (is_non_reference and sub_layer == self._highest_sub_layer),
            is_shown=not is_lost,
            order_count=order_count,
        )

    def _order_count(self, kind: int, sub_layer: int, slice_header: bytes) -> tuple[int, int]:
        """Return the order of display (H.265 7.3.6.1 and 8.3.1)."""
        if len(self._layouts) != 1 or len(self._num_extra_bits) != 1:
            raise UnverifiedStreamError("the HEVC stream has other than one kind of parameter sets")
        ((has_colour_plane, num_bits),) = self._layouts
        (num_extra_bits,) = self._num_extra_bits
        is_idr = kind in (19, 20)
        reader = BitReader(without_emulation_prevention(slice_header))
        reader.bits(2 if kind >= 16 else 1)
        reader.unsigned_golomb()  # slice_pic_parameter_set_id
        reader.bits(num_extra_bits)
        reader.unsigned_golomb()  # slice_type
        reader.bits(2 * has_colour_plane)
        low_bits = 0 if is_idr else reader.bits(num_bits)
        is_anchor = sub_layer == 0 and not 6 <= kind <= 9 and (kind >= 16 or kind % 2 == 1)
        is_reset = is_idr or self._num_scanned == 1
        return self._counter.count(low_bits, num_bits, is_reset=is_reset, is_anchor=is_anchor)


def _sequence_layout(nal_unit: bytes) -> tuple[bool, int]:
    """Return separate_colour_plane_flag and the bits of slice_pic_order_cnt_lsb (H.265 7.3.2.2.1, 7.3.3)."""
    reader = BitReader(without_emulation_prevention(nal_unit[2:]))
    reader.bits(4)
    num_lower_layers = reader.bits(3)
    reader.bits(1 + 96)  # sps_temporal_id_nesting_flag; general profile, tier and level
    layers = [(reader.bits(1), reader.bits(1)) for _ in range(8 if num_lower_layers else 0)]
    for has_profile, has_level in layers[:num_lower_layers]:
        reader.bits(88 * has_profile + 8 * has_level)
    reader.unsigned_golomb()  # sps_seq_parameter_set_id
    has_colour_plane = reader.unsigned_golomb() == 3 and bool(reader.bits(1))
    reader.unsigned_golomb()  # width and height
    reader.unsigned_golomb()
    if reader.bits(1):  # conformance_window_flag
        for _ in range(4):
            reader.unsigned_golomb()
    reader.unsigned_golomb()  # bit depths of luma and chroma
    reader.unsigned_golomb()
    return has_colour_plane, reader.unsigned_golomb() + 4
