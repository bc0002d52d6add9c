"""SequenceSet, PictureSet: fields of H.264 parameter sets that are needed to read slice headers.

Source: ITU-T H.264 7.3.2.1.1, 7.3.2.2, E.1.1 and E.1.2.
"""

from typing import NamedTuple

from tsn_tsm_plugin.data.bitstream.bit_reader import BitReader, without_emulation_prevention
from tsn_tsm_plugin.data.bitstream.picture import UnverifiedStreamError

_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}


class SequenceSet(NamedTuple):
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


class PictureSet(NamedTuple):
    """A picture parameter set.

    Attributes:
        number: pic_parameter_set_id.
        has_order_count_delta: Whether slice headers contain delta_pic_order_cnt_bottom.
    """

    number: int
    has_order_count_delta: bool


def read_sequence_set(nal_unit: bytes) -> SequenceSet:
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
    return SequenceSet(
        number, has_colour_plane, frame_num_bits, order_count_bits, delay_bits, has_picture_structure
    )


def read_picture_set(nal_unit: bytes) -> PictureSet:
    """Read a picture parameter set.

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
    return PictureSet(number, has_order_count_delta)


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
