"""H.264 and HEVC pictures, from the headers of their NAL units.

Sources: ITU-T H.264 7.3 and 7.4, ITU-T H.265 7.3 and 7.4, ISO/IEC 14496-15 5.3.3 (avcC) and 8.3.3 (hvcC).
"""

import functools
from collections.abc import Iterator

from tsn_tsm_plugin.data.decoders.bits import BitReader, without_emulation_prevention
from tsn_tsm_plugin.data.decoders.pictures import Picture, UnverifiedStreamError

_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}


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


def _length_prefixed(data: bytes, position: int, count: int) -> tuple[list[bytes], int]:
    nal_units = []
    for _ in range(count):
        start = position + 2
        position = start + int.from_bytes(data[position:start], "big")
        nal_units.append(data[start:position])
    return nal_units, position


class _NalPictures:
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


class H264Pictures(_NalPictures):
    """H.264: decoding starts at IDR pictures; a picture with nal_ref_idc 0 is referred to by none.

    A reference picture that is missing shows in the numbers of the others.
    """

    _parameter_set_types = frozenset({7, 8, 13, 15})

    def __init__(self, extradata: bytes) -> None:
        self._field_layouts: set[tuple[int, bool, bool]] = set()
        self._next_frame_num, self._max_frame_num = 0, 16
        super().__init__(extradata)

    def _type(self, header: int) -> int:
        return header & 31

    def _parse_configuration(self, extradata: bytes) -> tuple[int, list[bytes]]:
        sequence_sets, position = _length_prefixed(extradata, 6, extradata[5] & 31)
        picture_sets, _ = _length_prefixed(extradata, position + 1, extradata[position])
        return (extradata[4] & 3) + 1, sequence_sets + picture_sets

    def _read_parameter_set(self, kind: int, nal_unit: bytes) -> None:
        if kind == 7:
            self._field_layouts.add(_h264_field_layout(nal_unit))

    def scan(self, packet: bytes) -> Picture:
        """Describe the next packet: exactly one frame, coded as a frame."""
        num_pictures = frame_num = 0
        kinds, is_reference = set(), False
        for start, end in split_nal_units(packet, self._length_size):
            kind = packet[start] & 31
            if kind in (1, 5):
                kinds.add(kind)
                is_reference |= packet[start] & 0x60 != 0
                # A slice whose first_mb_in_slice is 0, coded as the single bit 1, opens a picture.
                if packet[start + 1 : start + 2] >= b"\x80":
                    num_pictures += 1
                    frame_num = self._frame_num(packet[start + 1 : min(end, start + 17)])
            elif kind in self._parameter_set_types:
                self._meet_parameter_set(packet[start:end])
            elif kind in (2, 3, 4, 10, 11):
                raise UnverifiedStreamError(f"an H.264 packet holds a NAL unit of type {kind}")
        if num_pictures != 1 or len(kinds) != 1:
            raise UnverifiedStreamError("an H.264 packet holds other than one picture")
        is_start = kinds == {5}
        if self._num_scanned == 0 and not is_start:
            raise UnverifiedStreamError("the H.264 stream does not begin with an IDR picture")
        if frame_num != (0 if is_start else self._next_frame_num):
            raise UnverifiedStreamError("an H.264 reference picture is missing")
        if is_reference:
            self._next_frame_num = (frame_num + 1) % self._max_frame_num
        self._num_scanned += 1
        return Picture(is_start=is_start, is_droppable=not is_reference)

    def _frame_num(self, slice_header: bytes) -> int:
        """Read frame_num, which counts reference pictures, and refuse single fields (H.264 7.3.3)."""
        if len(self._field_layouts) != 1:
            raise UnverifiedStreamError("the H.264 stream has other than one kind of sequence parameter set")
        ((frame_num_bits, has_colour_plane, frames_only),) = self._field_layouts
        self._max_frame_num = 1 << frame_num_bits
        slice_header = without_emulation_prevention(slice_header)
        reader = BitReader(slice_header)
        reader.bits(_bits_before_frame_num(slice_header[:2]) + 2 * has_colour_plane)
        frame_num = reader.bits(frame_num_bits)
        if not frames_only and reader.bits(1):
            raise UnverifiedStreamError("the H.264 stream codes single fields")
        return frame_num


@functools.lru_cache(maxsize=4096)
def _bits_before_frame_num(slice_header: bytes) -> int:
    """Return the length of first_mb_in_slice, slice_type and pic_parameter_set_id in bits."""
    reader = BitReader(slice_header)
    for _ in range(3):
        reader.unsigned_golomb()
    return reader.num_read


def _h264_field_layout(nal_unit: bytes) -> tuple[int, bool, bool]:
    """Return bits of frame_num, separate_colour_plane_flag and frame_mbs_only_flag (H.264 7.3.2.1.1)."""
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
    if order_count_type == 0:
        reader.unsigned_golomb()
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
    return frame_num_bits, has_colour_plane, bool(reader.bits(1))


def _skip_scaling_lists(reader: BitReader, num_lists: int) -> None:
    for number in range(num_lists):
        if reader.bits(1):
            last = following = 8
            for _ in range(16 if number < 6 else 64):
                if following:
                    following = (last + reader.signed_golomb()) % 256
                last = following or last


class HevcPictures(_NalPictures):
    """HEVC: decoding starts at IDR and CRA pictures.

    A sub-layer non-reference picture of the highest temporal sub-layer is referred to by none. The RASL
    pictures of a CRA picture that opens the stream have no reference and give no frame.
    """

    _parameter_set_types = frozenset({32, 33, 34})

    def __init__(self, extradata: bytes) -> None:
        self._highest_sub_layer = 0
        self._has_lost_leading = False
        super().__init__(extradata)

    def _type(self, header: int) -> int:
        return header >> 1 & 63

    def _parse_configuration(self, extradata: bytes) -> tuple[int, list[bytes]]:
        nal_units, position = [], 23
        for _ in range(extradata[22]):
            count = int.from_bytes(extradata[position + 1 : position + 3], "big")
            array, position = _length_prefixed(extradata, position + 3, count)
            nal_units += array
        return (extradata[21] & 3) + 1, nal_units

    def _read_parameter_set(self, kind: int, nal_unit: bytes) -> None:
        if kind == 33:
            self._highest_sub_layer = max(self._highest_sub_layer, nal_unit[2] >> 1 & 7)
        elif kind == 34:
            reader = BitReader(without_emulation_prevention(nal_unit[2:]))
            reader.unsigned_golomb()  # picture and sequence parameter set ids
            reader.unsigned_golomb()
            if reader.bits(2) & 1:
                raise UnverifiedStreamError("the HEVC stream may hide pictures (output_flag_present_flag)")

    def scan(self, packet: bytes) -> Picture:
        """Describe the next packet: exactly one picture of the base layer."""
        num_pictures = 0
        kinds, sub_layers = set(), set()
        for start, end in split_nal_units(packet, self._length_size):
            header = int.from_bytes(packet[start : start + 3].ljust(3, b"\0"), "big")
            kind, layer, sub_layer = header >> 17 & 63, header >> 11 & 63, (header >> 8 & 7) - 1
            if layer:
                continue
            if kind < 32:
                kinds.add(kind)
                sub_layers.add(sub_layer)
                num_pictures += header >> 7 & 1  # first_slice_segment_in_pic_flag
                if kind >= 16 and header & 0x40 and self._num_scanned:
                    raise UnverifiedStreamError("the HEVC stream drops pictures (no_output_of_prior_pics)")
            elif kind in self._parameter_set_types:
                self._meet_parameter_set(packet[start:end])
            elif kind in (36, 37):
                raise UnverifiedStreamError("the HEVC stream ends and begins again")
        if num_pictures != 1 or len(kinds) != 1 or len(sub_layers) != 1:
            raise UnverifiedStreamError("an HEVC packet holds other than one picture")
        self._num_scanned += 1
        return self._picture(kinds.pop(), sub_layers.pop())

    def _picture(self, kind: int, sub_layer: int) -> Picture:
        is_random_access = 16 <= kind <= 23
        if is_random_access and kind not in (19, 20, 21):
            raise UnverifiedStreamError(f"the HEVC stream holds a picture of type {kind}")
        if self._num_scanned == 1 and not is_random_access:
            raise UnverifiedStreamError("the HEVC stream does not begin with a random access picture")
        if is_random_access:
            self._has_lost_leading = self._num_scanned == 1 and kind == 21
            return Picture(is_start=True)
        is_non_reference = kind < 16 and kind % 2 == 0 and sub_layer == self._highest_sub_layer
        is_lost = self._has_lost_leading and kind in (8, 9)
        return Picture(is_start=False, is_droppable=is_non_reference or is_lost, is_shown=not is_lost)
