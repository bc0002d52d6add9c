"""H.264 pictures, from the headers of their slices and sequence parameter sets.

Sources: ITU-T H.264 7.3 and 7.4; ISO/IEC 14496-15 5.3.3 (avcC).
"""

import functools
from typing import NamedTuple

from tsn_tsm_plugin.data.bitstream.bit_reader import BitReader, without_emulation_prevention
from tsn_tsm_plugin.data.bitstream.nal_units import (
    NalPictures,
    OrderCounter,
    length_prefixed,
    split_nal_units,
)
from tsn_tsm_plugin.data.bitstream.picture import Picture, UnverifiedStreamError

_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}


class _SequenceLayout(NamedTuple):
    """What of a sequence parameter set the reading of slice headers needs (H.264 7.3.2.1.1)."""

    frame_num_bits: int
    has_colour_plane: bool
    frames_only: bool
    order_count_type: int
    order_count_bits: int


class H264Pictures(NalPictures):
    """H.264: decoding starts at IDR pictures; a picture with nal_ref_idc 0 is referred to by none.

    A reference picture that is missing shows in the numbers of the others.
    """

    _parameter_set_types = frozenset({7, 8, 13, 15})

    def __init__(self, extradata: bytes) -> None:
        self._layouts: set[_SequenceLayout] = set()
        self._next_frame_num = 0
        self._counter = OrderCounter()
        super().__init__(extradata)

    def _type(self, header: int) -> int:
        return header & 31

    def _parse_configuration(self, extradata: bytes) -> tuple[int, list[bytes]]:
        sequence_sets, position = length_prefixed(extradata, 6, extradata[5] & 31)
        picture_sets, _ = length_prefixed(extradata, position + 1, extradata[position])
        return (extradata[4] & 3) + 1, sequence_sets + picture_sets

    def _read_parameter_set(self, kind: int, nal_unit: bytes) -> None:
        if kind == 7:
            self._layouts.add(_sequence_layout(nal_unit))

    def scan(self, packet: bytes) -> Picture:
        """Describe the next packet: exactly one frame, coded as a frame."""
        num_pictures, slice_header = 0, b""
        kinds, is_reference = set(), False
        for start, end in split_nal_units(packet, self._length_size):
            kind = packet[start] & 31
            if kind in (1, 5):
                kinds.add(kind)
                is_reference |= packet[start] & 0x60 != 0
                # A slice whose first_mb_in_slice is 0, coded as the single bit 1, opens a picture.
                if packet[start + 1 : start + 2] >= b"\x80":
                    num_pictures += 1
                    slice_header = packet[start + 1 : min(end, start + 25)]
            elif kind in self._parameter_set_types:
                self._meet_parameter_set(packet[start:end])
            elif kind in (2, 3, 4, 10, 11):
                raise UnverifiedStreamError(f"an H.264 packet holds a NAL unit of type {kind}")
        if num_pictures != 1 or len(kinds) != 1:
            raise UnverifiedStreamError("an H.264 packet holds other than one picture")
        is_start = kinds == {5}
        if self._num_scanned == 0 and not is_start:
            raise UnverifiedStreamError("the H.264 stream does not begin with an IDR picture")
        order_count = self._read_slice_header(slice_header, is_start, is_reference)
        self._num_scanned += 1
        return Picture(is_start=is_start, is_droppable=not is_reference, order_count=order_count)

    def _read_slice_header(
        self, slice_header: bytes, is_start: bool, is_reference: bool
    ) -> tuple[int, int] | None:
        """Check frame_num, which counts reference pictures, and return the order of display (H.264 7.3.3)."""
        if len(self._layouts) != 1:
            raise UnverifiedStreamError("the H.264 stream has other than one kind of sequence parameter set")
        (layout,) = self._layouts
        slice_header = without_emulation_prevention(slice_header)
        reader = BitReader(slice_header)
        reader.bits(_bits_before_frame_num(slice_header[:2]) + 2 * layout.has_colour_plane)
        frame_num = reader.bits(layout.frame_num_bits)
        if frame_num != (0 if is_start else self._next_frame_num):
            raise UnverifiedStreamError("an H.264 reference picture is missing")
        if is_reference:
            self._next_frame_num = (frame_num + 1) % (1 << layout.frame_num_bits)
        if not layout.frames_only and reader.bits(1):
            raise UnverifiedStreamError("the H.264 stream codes single fields")
        if layout.order_count_type == 2:  # displayed as decoded
            return 0, self._num_scanned
        if layout.order_count_type == 1:
            return None
        if is_start:
            reader.unsigned_golomb()  # idr_pic_id
        low_bits = reader.bits(layout.order_count_bits)
        return self._counter.count(
            low_bits, layout.order_count_bits, is_reset=is_start, is_anchor=is_reference
        )


@functools.lru_cache(maxsize=4096)
def _bits_before_frame_num(slice_header: bytes) -> int:
    """Return the length of first_mb_in_slice, slice_type and pic_parameter_set_id in bits."""
    reader = BitReader(slice_header)
    for _ in range(3):
        reader.unsigned_golomb()
    return reader.num_read


def _sequence_layout(nal_unit: bytes) -> _SequenceLayout:
    reader = BitReader(without_emulation_prevention(nal_unit[1:]))
    profile = reader.bits(24) >> 16
    reader.unsigned_golomb()  # seq_parameter_set_id
    has_colour_plane = False
    if profile in _HIGH_PROFILES:
        chroma_format = reader.unsigned_golomb()
        has_colour_plane = chroma_format == 3 and bool(reader.bits(1))
        reader.unsigned_golomb()  # bit depths of luma and chroma
        reader.unsigned_golomb()
        reader.bits(1)
        if reader.bits(1):
            _skip_scaling_lists(reader, 12 if chroma_format == 3 else 8)
    frame_num_bits = reader.unsigned_golomb() + 4
    order_count_type = reader.unsigned_golomb()
    order_count_bits = 0
    if order_count_type == 0:
        order_count_bits = reader.unsigned_golomb() + 4
    elif order_count_type == 1:
        reader.bits(1)
        reader.signed_golomb()
        reader.signed_golomb()
        for _ in range(min(reader.unsigned_golomb(), 255)):
            reader.signed_golomb()
    reader.unsigned_golomb()  # max_num_ref_frames
    reader.bits(1)
    reader.unsigned_golomb()  # width and height in macroblocks
    reader.unsigned_golomb()
    frames_only = bool(reader.bits(1))
    return _SequenceLayout(frame_num_bits, has_colour_plane, frames_only, order_count_type, order_count_bits)


def _skip_scaling_lists(reader: BitReader, num_lists: int) -> None:
    for number in range(num_lists):
        if reader.bits(1):
            last = following = 8
            for _ in range(16 if number < 6 else 64):
                if following:
                    following = (last + reader.signed_golomb()) % 256
                last = following or last
