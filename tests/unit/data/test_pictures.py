"""What packet headers tell: hand-made headers, and real packets bent in one place."""

import av
import pytest
from support.videos import write_video

from tsn_tsm_plugin.data.bitstream.bit_reader import BitReader
from tsn_tsm_plugin.data.bitstream.h264 import H264Pictures
from tsn_tsm_plugin.data.bitstream.hevc import HevcPictures
from tsn_tsm_plugin.data.bitstream.nal_units import OrderCounter, split_nal_units
from tsn_tsm_plugin.data.bitstream.picture import Picture, UnverifiedStreamError
from tsn_tsm_plugin.data.bitstream.scanner import scanner_for
from tsn_tsm_plugin.data.bitstream.vpx_av1 import Vp8Pictures, Vp9Pictures

START_CODE = b"\0\0\1"
TRAIL_N, TRAIL_R, RASL_N, IDR, CRA, SEQUENCE_SET, PICTURE_SET, END_OF_SEQUENCE = 0, 1, 8, 19, 21, 33, 34, 36


def hevc(kind, *, sub_layer=0, payload=b"\x80\x80"):
    """One NAL unit in the byte stream format; the payload opens the first slice of a picture."""
    return START_CODE + (kind << 9 | sub_layer + 1).to_bytes(2, "big") + payload


def hevc_scanner(num_sub_layers=1):
    """A scanner that knows one sequence parameter set with 4 bits of order count, and one picture one."""
    layers = bytes(2 if num_sub_layers > 1 else 0)
    sequence_set = (
        bytes([num_sub_layers - 1 << 1]) + b"\x55" * 12 + layers + bytes([0b1_010_1_1_0_1, 0b1_1_100000])
    )
    picture_set = bytes([0b1_1_0_0_000_1])
    return HevcPictures(hevc(SEQUENCE_SET, payload=sequence_set) + hevc(PICTURE_SET, payload=picture_set))


def packets_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
        return stream.codec_context.extradata, packets


def test_exp_golomb_codes_are_read_as_the_standard_lists_them():
    reader = BitReader(bytes([0b1_010_011_0, 0b0100_0010, 0b1_0000000]))
    assert [reader.unsigned_golomb() for _ in range(5)] == [0, 1, 2, 3, 4]
    reader = BitReader(bytes([0b1_010_011_0, 0b0100_0010, 0b1_0000000]))
    assert [reader.signed_golomb() for _ in range(5)] == [0, 1, -1, 2, -2]


def test_nal_units_are_split_by_lengths_or_by_start_codes():
    assert list(split_nal_units(b"\0\2ab\0\1c", 2)) == [(2, 4), (6, 7)]
    assert list(split_nal_units(b"\0\0\1ab\0\0\1c", 0)) == [(3, 5), (8, 9)]
    with pytest.raises(UnverifiedStreamError, match="do not fill the packet"):
        list(split_nal_units(b"\0\5ab", 2))


def test_order_counts_are_completed_to_the_nearest_and_restart_with_their_period():
    counter = OrderCounter()

    def count(full, *, is_reset=False, is_anchor=True):
        return counter.count(full % 16, 4, is_reset=is_reset, is_anchor=is_anchor)

    assert count(0, is_reset=True) == (1, 0)
    assert [count(full) for full in (6, 12, 20)] == [(1, 6), (1, 12), (1, 20)]
    assert [count(full, is_anchor=False) for full in (16, 28, 18)] == [(1, 16), (1, 28), (1, 18)]
    assert count(0, is_reset=True) == (2, 0)


def test_an_hevc_picture_is_droppable_only_in_the_highest_sub_layer():
    scanner = hevc_scanner(num_sub_layers=3)
    scanner.scan(hevc(IDR))
    droppable = [scanner.scan(hevc(TRAIL_N, sub_layer=layer)).is_droppable for layer in range(3)]
    assert droppable == [False, False, True]
    assert not scanner.scan(hevc(TRAIL_R, sub_layer=2)).is_droppable


def test_leading_pictures_of_a_cra_that_opens_the_stream_are_lost_and_later_ones_are_not():
    scanner = hevc_scanner()
    packets = [hevc(CRA), hevc(RASL_N), hevc(TRAIL_R), hevc(CRA), hevc(RASL_N)]
    assert [scanner.scan(packet).is_shown for packet in packets] == [True, False, True, True, True]


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (hevc(IDR) + hevc(IDR), "other than one picture"),
        (hevc(TRAIL_R) + hevc(END_OF_SEQUENCE, payload=b""), "ends and begins again"),
        (hevc(IDR, payload=b"\xc0\x80"), "drops pictures"),
        (hevc(SEQUENCE_SET, payload=b"\x7e") + hevc(IDR), "parameter sets change"),
        (hevc(17), "picture of type 17"),
    ],
    ids=["two pictures", "end of sequence", "dropped pictures", "new parameters", "broken link"],
)
def test_what_is_no_plain_hevc_picture_is_refused(packet, reason):
    scanner = hevc_scanner()
    scanner.scan(hevc(IDR))
    with pytest.raises(UnverifiedStreamError, match=reason):
        scanner.scan(packet)


def test_a_stream_that_begins_midway_is_refused():
    with pytest.raises(UnverifiedStreamError, match="does not begin with a random access picture"):
        hevc_scanner().scan(hevc(TRAIL_R))


def test_a_lost_h264_reference_picture_shows_in_the_next_one(tmp_path):
    extradata, packets = packets_of(write_video(tmp_path / "video.mp4", 12, b_frames=0))
    scanner = H264Pictures(extradata)
    assert [scanner.scan(packet).is_start for packet in packets[:4]] == [True, False, False, False]
    with pytest.raises(UnverifiedStreamError, match="reference picture is missing"):
        scanner.scan(packets[5])


def test_two_h264_pictures_in_one_packet_are_refused(tmp_path):
    extradata, packets = packets_of(write_video(tmp_path / "video.mp4", 12, b_frames=0))
    with pytest.raises(UnverifiedStreamError, match="other than one picture"):
        H264Pictures(extradata).scan(packets[0] + packets[0])


@pytest.mark.parametrize(("first_byte", "is_shown"), [(0x10, True), (0x00, False)])
def test_the_frame_tag_of_vp8_says_what_is_shown(first_byte, is_shown):
    key_frame = bytes([first_byte, 0, 0]) + b"\x9d\x01\x2a"
    assert Vp8Pictures(b"").scan(key_frame) == Picture(is_start=True, is_shown=is_shown)


def test_a_vp9_superframe_shows_one_of_its_frames():
    hidden_key, shown = bytes([0b1000_0000]), bytes([0b1000_0110])
    marker = bytes([0b110_00_001])  # two frames, sizes of one byte
    superframe = hidden_key + shown + marker + bytes([1, 1]) + marker
    assert Vp9Pictures(b"").scan(superframe) == Picture(is_start=True, is_shown=True)
    assert Vp9Pictures(b"").scan(hidden_key) == Picture(is_start=True, is_shown=False)


def test_a_codec_that_is_not_known_is_left_to_plain_decoding():
    with pytest.raises(UnverifiedStreamError, match="codec snow"):
        scanner_for("snow", b"")
