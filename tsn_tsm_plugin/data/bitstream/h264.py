"""H264Pictures: read the properties of H.264 pictures from parameter sets and slice headers.

Sources: ITU-T H.264 7.3, 7.4, D.1 and E.1; ISO/IEC 14496-15 5.3.3 (avcC).
"""

import functools
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

_SLICE, _IDR_SLICE, _SEI, _SEQUENCE_SET, _PICTURE_SET = 1, 5, 6, 7, 8
# Access unit delimiters (which only repeat the slice types) and filler.
_EMPTY_UNITS = {9, 12}
_PICTURE_TIMING, _UNREGISTERED = 1, 5
_HARMLESS_MESSAGES = {
    0,  # Buffering period: timing of a hardware buffer.
    3,  # Filler.
    4,  # Registered user data: captions and display hints, which do not change pixels.
    6,  # Recovery point: unused, because decoding starts at IDR pictures only.
    137,  # Colour volume of the mastering display, which does not change pixels.
    144,  # Light level of the content, which does not change pixels.
}
_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}


class _SequenceSet(NamedTuple):
    """A sequence parameter set of progressive video.

    Attributes:
        number: seq_parameter_set_id.
        has_colour_plane: Whether slice headers contain a colour plane number.
        frame_num_bits: Bits of frame_num.
        order_count_bits: Bits of pic_order_cnt_lsb; 0 if frames are displayed in decoding order.
        delay_bits: Bits of the two delays at the start of picture timing messages.
        has_picture_structure: Whether picture timing messages set the display of a picture.
    """

    number: int
    has_colour_plane: bool
    frame_num_bits: int
    order_count_bits: int
    delay_bits: int
    has_picture_structure: bool


class H264Pictures(NalPictures):
    """H.264: decoding starts at IDR pictures; no picture refers to a picture with nal_ref_idc 0.

    A gap in frame_num reveals a missing reference picture. The slice addresses reveal a missing slice.
    """

    _type_shift, _type_mask = 0, 31
    _sequence_set_type = _SEQUENCE_SET
    _parameter_set_types = frozenset({_SEQUENCE_SET, _PICTURE_SET})

    def __init__(self, extradata: bytes) -> None:
        self._sequence_set: _SequenceSet | None = None
        # For each picture parameter set: whether slice headers contain delta_pic_order_cnt_bottom.
        self._has_order_count_delta: dict[int, bool] = {}
        self._next_frame_num = 0
        self._counter = OrderCounter()
        self._addresses: list[int] | None = None
        self._encoder_note: bytes | None = None
        super().__init__(extradata)

    def _parse_configuration(self, extradata: bytes) -> tuple[int, list[bytes]]:
        sequence_sets, position = length_prefixed(extradata, 6, extradata[5] & 31)
        picture_sets, _ = length_prefixed(extradata, position + 1, extradata[position])
        return (extradata[4] & 3) + 1, sequence_sets + picture_sets

    def _read_parameter_set(self, kind: int, nal_unit: bytes) -> int:
        if kind == _SEQUENCE_SET:
            self._sequence_set = _read_sequence_set(nal_unit)
            return self._sequence_set.number
        number, has_delta = _read_picture_set(nal_unit)
        self._has_order_count_delta[number] = has_delta
        return number

    def scan(self, packet: bytes) -> CodedPicture:
        """Describe the next packet, which must be exactly one frame, not coded as fields."""
        headers, addresses, slice_header = set(), [], b""
        for start, end in split_nal_units(packet, self._length_size):
            kind = packet[start] & 31
            if kind in (_SLICE, _IDR_SLICE):
                headers.add((kind, packet[start] & 0x60 != 0))
                # first_mb_in_slice 0 is the single bit 1.
                if packet[start + 1 : start + 2] >= b"\x80":
                    addresses.append(0)
                    slice_header = packet[start + 1 : min(end, start + 41)]
                else:
                    address = without_emulation_prevention(packet[start + 1 : min(end, start + 9)])
                    addresses.append(BitReader(address).unsigned_golomb())
            elif kind in self._parameter_set_types:
                self._meet_parameter_set(packet[start:end])
            elif kind == _SEI:
                for message, content in sei_messages(packet[start + 1 : end]):
                    self._check_message(message, content)
            elif kind not in _EMPTY_UNITS:
                raise UnverifiedStreamError(f"an H.264 packet holds a NAL unit of type {kind}")
        self._addresses = self._addresses or addresses
        if len(headers) != 1 or addresses != self._addresses or addresses.count(0) != 1:
            raise UnverifiedStreamError(
                "an H.264 packet holds other than one picture, or pictures differ in slices"
            )
        ((kind, is_reference),) = headers
        is_start = kind == _IDR_SLICE
        if self._num_scanned == 0 and not is_start:
            raise UnverifiedStreamError("the H.264 stream does not begin with an IDR picture")
        if is_start and not is_reference:
            raise UnverifiedStreamError("an H.264 IDR picture claims to be no reference")
        order_count = self._read_slice_header(slice_header, is_start, is_reference)
        self._num_scanned += 1
        return CodedPicture(is_start=is_start, is_droppable=not is_reference, order_count=order_count)

    def _check_message(self, kind: int, content: bytes) -> None:
        if kind == _PICTURE_TIMING:
            self._check_timing(content)
        elif kind == _UNREGISTERED:
            # By this message FFmpeg recognises x264 builds whose bugs it works around.
            if content[16:20] == b"x264" and content != self._encoder_note:
                if self._num_scanned or self._encoder_note is not None:
                    raise UnverifiedStreamError("the H.264 stream changes the note of its encoder")
                self._encoder_note = content
        elif kind not in _HARMLESS_MESSAGES:
            raise UnverifiedStreamError(f"the H.264 stream has supplemental information of type {kind}")

    def _check_timing(self, content: bytes) -> None:
        """Refuse pulldown and interlacing flags, which change the colour conversion (H.264 D.1.3)."""
        if self._sequence_set is None:
            raise UnverifiedStreamError("the H.264 stream lacks a sequence parameter set")
        if self._sequence_set.has_picture_structure:
            reader = BitReader(content)
            reader.bits(self._sequence_set.delay_bits)
            if reader.bits(5):
                raise UnverifiedStreamError("the H.264 stream sets the display of its pictures (pic_struct)")

    def _read_slice_header(self, slice_header: bytes, is_start: bool, is_reference: bool) -> tuple[int, int]:
        """Check frame_num, which counts reference pictures, and return the order of display (H.264 7.3.3)."""
        layout = self._sequence_set
        slice_header = without_emulation_prevention(slice_header)
        slice_type, number, num_bits = _slice_start(slice_header[:3])
        if layout is None or number not in self._has_order_count_delta or num_bits > 24:
            raise UnverifiedStreamError("the H.264 stream lacks a parameter set")
        if slice_type > 9 or slice_type % 5 > 2:
            raise UnverifiedStreamError(f"the H.264 stream has slices of type {slice_type}")
        reader = BitReader(slice_header)
        reader.bits(num_bits + 2 * layout.has_colour_plane)
        frame_num = reader.bits(layout.frame_num_bits)
        if frame_num != (0 if is_start else self._next_frame_num):
            raise UnverifiedStreamError("an H.264 reference picture is missing")
        if is_reference:
            self._next_frame_num = (frame_num + 1) % (1 << layout.frame_num_bits)
        if is_start:
            reader.unsigned_golomb()  # idr_pic_id
        low_bits = 0
        if layout.order_count_bits:
            low_bits = reader.bits(layout.order_count_bits)
            if self._has_order_count_delta[number] and reader.signed_golomb() < 0:
                raise UnverifiedStreamError("an H.264 picture is displayed by its second field")
        if is_start and (slice_type % 5 != 2 or (reader.bits(1) and self._num_scanned)):
            raise UnverifiedStreamError("the H.264 stream drops pictures (no_output_of_prior_pics)")
        if not layout.order_count_bits:  # displayed as decoded
            return 0, self._num_scanned
        return self._counter.count(
            low_bits, layout.order_count_bits, is_reset=is_start, is_anchor=is_reference
        )


@functools.lru_cache(maxsize=4096)
def _slice_start(slice_header: bytes) -> tuple[int, int, int]:
    """Return slice_type, pic_parameter_set_id and the bits up to frame_num, from the first three bytes."""
    reader = BitReader(slice_header)
    reader.unsigned_golomb()  # first_mb_in_slice
    return reader.unsigned_golomb(), reader.unsigned_golomb(), reader.num_read


def _read_sequence_set(nal_unit: bytes) -> _SequenceSet:
    """Read a sequence parameter set.

    Raises:
        UnverifiedStreamError: If the set allows fields, or an order of display by a cycle.
    """
    reader = BitReader(without_emulation_prevention(nal_unit[1:]))
    profile = reader.bits(24) >> 16
    number = reader.unsigned_golomb()
    has_colour_plane = False
    if profile in _HIGH_PROFILES:
        chroma_format = reader.unsigned_golomb()
        has_colour_plane = chroma_format == 3 and bool(reader.bits(1))
        reader.skip_golombs(2)  # bit depths of luma and chroma
        reader.bits(1)
        if reader.bits(1):
            _skip_scaling_lists(reader, 12 if chroma_format == 3 else 8)
    frame_num_bits = reader.unsigned_golomb() + 4
    order_count_type = reader.unsigned_golomb()
    if order_count_type not in (0, 2):
        raise UnverifiedStreamError("the H.264 stream orders pictures by a cycle")
    order_count_bits = reader.unsigned_golomb() + 4 if order_count_type == 0 else 0
    reader.unsigned_golomb()  # max_num_ref_frames
    reader.bits(1)
    reader.skip_golombs(2)  # width and height in macroblocks
    if not reader.bits(1):
        raise UnverifiedStreamError("the H.264 stream may hold fields")
    reader.bits(1)  # direct_8x8_inference_flag
    if reader.bits(1):  # cropping
        reader.skip_golombs(4)
    delay_bits, has_picture_structure = _read_usability(reader) if reader.bits(1) else (0, False)
    return _SequenceSet(
        number, has_colour_plane, frame_num_bits, order_count_bits, delay_bits, has_picture_structure
    )


def _read_picture_set(nal_unit: bytes) -> tuple[int, bool]:
    """Return the number of a picture parameter set, and whether it has delta_pic_order_cnt_bottom.

    Raises:
        UnverifiedStreamError: If the set allows slice groups or redundant pictures.
    """
    reader = BitReader(without_emulation_prevention(nal_unit[1:]))
    number = reader.unsigned_golomb()
    reader.unsigned_golomb()  # seq_parameter_set_id
    reader.bits(1)  # entropy_coding_mode_flag
    has_order_count_delta = bool(reader.bits(1))
    if reader.unsigned_golomb():
        raise UnverifiedStreamError("the H.264 stream has slice groups")
    reader.skip_golombs(2)  # numbers of reference pictures
    reader.bits(3)  # weighted prediction
    reader.skip_golombs(3)  # quantiser and chroma offsets
    if reader.bits(3) & 1:
        raise UnverifiedStreamError("the H.264 stream has redundant pictures")
    return number, has_order_count_delta


def _read_usability(reader: BitReader) -> tuple[int, bool]:
    """Read the usability information up to pic_struct_present_flag."""
    if reader.bits(1) and reader.bits(8) == 255:  # aspect ratio
        reader.bits(32)
    if reader.bits(1):  # overscan
        reader.bits(1)
    if reader.bits(1):  # video signal type
        reader.bits(4)
        if reader.bits(1):
            reader.bits(24)
    if reader.bits(1):  # chroma location
        reader.skip_golombs(2)
    if reader.bits(1):  # timing
        reader.bits(65)
    delay_bits = 0
    has_buffer_model = False
    for _ in range(2):
        if reader.bits(1):
            has_buffer_model = True
            delay_bits = _read_buffer_model(reader)
    if has_buffer_model:
        reader.bits(1)  # low_delay_hrd_flag
    return delay_bits, bool(reader.bits(1))


def _read_buffer_model(reader: BitReader) -> int:
    """Return the number of bits of cpb_removal_delay and dpb_output_delay together."""
    num_buffers = min(reader.unsigned_golomb(), 31) + 1
    reader.bits(8)
    for _ in range(num_buffers):
        reader.skip_golombs(2)
        reader.bits(1)
    reader.bits(5)
    delay_bits = reader.bits(5) + reader.bits(5) + 2
    reader.bits(5)
    return delay_bits


def _skip_scaling_lists(reader: BitReader, num_lists: int) -> None:
    for number in range(num_lists):
        if reader.bits(1):
            last = following = 8
            for _ in range(16 if number < 6 else 64):
                if following:
                    following = (last + reader.signed_golomb()) % 256
                last = following or last
