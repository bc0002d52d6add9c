"""Packet headers: hand-made headers, and real packets with one change."""

import av
import pytest
from support.videos import write_video

from tsn_tsm_plugin.data.bitstream.bit_reader import BitReader
from tsn_tsm_plugin.data.bitstream.h264 import H264Pictures
from tsn_tsm_plugin.data.bitstream.hevc import HevcPictures
from tsn_tsm_plugin.data.bitstream.mpeg4 import Mpeg4Pictures
from tsn_tsm_plugin.data.bitstream.nal_units import OrderCounter, split_nal_units
from tsn_tsm_plugin.data.bitstream.packet_scan import scanner_for
from tsn_tsm_plugin.data.bitstream.picture import CodedPicture, UnverifiedStreamError
from tsn_tsm_plugin.data.bitstream.vp9_av1 import Vp9Pictures

START_CODE = b"\0\0\1"
X265 = "log-level=none:pools=none:frame-threads=1:info=0"


def packets_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
        return stream.codec_context.extradata, packets


def hevc_of(folder, *, num_layers=1, b_frames=2, open_gop=0, gop_size=12):
    """Extradata and packets in the byte stream format."""
    params = f"{X265}:open-gop={open_gop}:temporal-layers={num_layers}"
    path = write_video(
        folder / "video.hevc",
        30,
        codec="libx265",
        gop_size=gop_size,
        b_frames=b_frames,
        options={"x265-params": params},
    )
    _, packets = packets_of(path)
    return b"", packets


def kind_of(packet):
    """Type of the picture in an HEVC packet."""
    kinds = [packet[start] >> 1 & 63 for start, _ in split_nal_units(packet, 0)]
    return next(kind for kind in kinds if kind < 32)


def scanned(scanner, packets):
    return [scanner.scan(packet) for packet in packets]


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


@pytest.mark.parametrize("num_layers", [1, 3])
def test_an_hevc_picture_is_droppable_if_it_is_a_non_reference_of_the_highest_sub_layer(tmp_path, num_layers):
    _, packets = hevc_of(tmp_path, num_layers=num_layers, b_frames=3)
    pictures = scanned(HevcPictures(b""), packets)
    assert any(picture.is_droppable for picture in pictures)
    for packet, picture in zip(packets, pictures, strict=True):
        assert not picture.is_droppable or kind_of(packet) % 2 == 0


@pytest.mark.parametrize("open_gop", [0, 1])
def test_a_lost_hevc_reference_picture_shows_in_the_one_that_names_it(tmp_path, open_gop):
    _, packets = hevc_of(tmp_path, open_gop=open_gop)
    pictures = scanned(HevcPictures(b""), packets)
    for lost, picture in enumerate(pictures[:-1]):
        rest = packets[:lost] + packets[lost + 1 :]
        if picture.is_droppable or kind_of(packets[lost + 1]) in (19, 20):
            continue
        with pytest.raises(UnverifiedStreamError):
            scanned(HevcPictures(b""), rest)


def test_hevc_pictures_that_lead_the_keyframe_of_another_clip_are_refused(tmp_path):
    _, packets = hevc_of(tmp_path, open_gop=1)
    cra = next(number for number, packet in enumerate(packets) if number and kind_of(packet) == 21)
    with pytest.raises(UnverifiedStreamError):
        scanned(HevcPictures(b""), packets[cra:])


UNITS = {
    "end of sequence": (bytes([36 << 1, 1]), "type 36"),
    "another sequence parameter set": (bytes([33 << 1, 1]) + b"\1" * 40, "parameter sets change"),
    "another layer": (bytes([1 << 1, 9]) + b"\x80\x80", "several layers"),
    "broken link": (bytes([17 << 1, 1]) + b"\x80\x80", "type 17"),
    "frame doubling": (bytes([39 << 1, 1, 1, 1, 0x70, 0x80]), "supplemental information of type 1"),
    "display orientation": (bytes([39 << 1, 1, 47, 1, 0, 0x80]), "supplemental information of type 47"),
    "second picture": (bytes([1 << 1, 1]) + b"\x80\x80", "other than one picture"),
}


@pytest.mark.parametrize("name", UNITS)
def test_what_may_change_the_pixels_of_other_hevc_pictures_is_refused(tmp_path, name):
    unit, reason = UNITS[name]
    _, packets = hevc_of(tmp_path)
    scanner = HevcPictures(b"")
    scanner.scan(packets[0])
    with pytest.raises(UnverifiedStreamError, match=reason):
        scanner.scan(packets[1] + START_CODE + unit)


def test_a_stream_that_begins_midway_is_refused(tmp_path):
    _, packets = hevc_of(tmp_path)
    with pytest.raises(UnverifiedStreamError):
        scanned(HevcPictures(b""), packets[1:])


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


@pytest.mark.parametrize(
    ("unit", "reason"),
    [
        (b"\x06\x05\x18" + b"u" * 16 + b"x264 - 7\x80", "note of its encoder"),
        (b"\x06\x2f\x01\x00\x80", "supplemental information of type 47"),
        (b"\x67" + b"\x42" * 20, "parameter sets change"),
        (b"\x14\x80\x80", "type 20"),
        (b"\x0a", "type 10"),
    ],
    ids=["encoder note", "display orientation", "sequence set", "extension slice", "end of sequence"],
)
def test_what_may_change_the_pixels_of_other_h264_pictures_is_refused(tmp_path, unit, reason):
    extradata, packets = packets_of(write_video(tmp_path / "video.mp4", 12, b_frames=0))
    scanner = H264Pictures(extradata)
    scanner.scan(packets[0])
    with pytest.raises(UnverifiedStreamError, match=reason):
        scanner.scan(packets[1] + len(unit).to_bytes(4, "big") + unit)


def test_two_parameter_sets_of_one_number_are_refused(tmp_path):
    extradata, packets = packets_of(write_video(tmp_path / "video.h264", 12, b_frames=0))
    first = packets[0]
    (start, end), *_ = (unit for unit in split_nal_units(first, 0) if first[unit[0]] & 31 == 8)
    other = first[start : end - 1] + bytes([first[end - 1] ^ 0x10])
    with pytest.raises(UnverifiedStreamError, match="several parameter sets"):
        H264Pictures(extradata).scan(START_CODE + other + first)


def mpeg4_of(folder, **options):
    return packets_of(write_video(folder / "video.avi", 30, codec="mpeg4", **options))


@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_lost_or_repeated_mpeg4_picture_with_b_pictures_around_is_refused(tmp_path, b_frames):
    extradata, packets = mpeg4_of(tmp_path, b_frames=b_frames)
    pictures = scanned(Mpeg4Pictures(extradata), packets)
    for number, picture in enumerate(pictures[4:-4], start=4):
        with pytest.raises(UnverifiedStreamError):
            scanned(Mpeg4Pictures(extradata), [*packets[: number + 1], *packets[number:]])
        if b_frames and not picture.is_bidirectional and pictures[number + 1].is_bidirectional:
            with pytest.raises(UnverifiedStreamError):
                scanned(Mpeg4Pictures(extradata), packets[:number] + packets[number + 1 :])


@pytest.mark.parametrize("prefix", [b"", START_CODE + b"\xb2note", START_CODE + b"\xb3\0\x10\x40"])
def test_an_uncoded_mpeg4_picture_is_seen_behind_whatever_stands_before_it(tmp_path, prefix):
    extradata, packets = mpeg4_of(tmp_path, b_frames=0)
    scanner = Mpeg4Pictures(extradata)
    scanner.scan(packets[0])
    uncoded = START_CODE + b"\xb6" + bytes([0b01_0_1_0000, 0b1_1_0_00000]) + bytes(10)
    with pytest.raises(UnverifiedStreamError):
        scanner.scan(prefix + uncoded)


def test_a_changed_note_of_an_mpeg4_encoder_is_refused(tmp_path):
    extradata, packets = mpeg4_of(tmp_path, b_frames=0)
    scanner = Mpeg4Pictures(extradata)
    scanner.scan(packets[0])
    with pytest.raises(UnverifiedStreamError, match="note of its encoder"):
        scanner.scan(START_CODE + b"\xb2XviD0050" + packets[1])


def test_a_vp9_superframe_shows_one_of_its_frames():
    hidden_key, shown = bytes([0b1000_0000]), bytes([0b1000_0110])
    marker = bytes([0b110_00_001])  # two frames, sizes of one byte
    superframe = hidden_key + shown + marker + bytes([1, 1]) + marker
    assert Vp9Pictures(b"").scan(superframe) == CodedPicture(is_start=True, is_shown=True)
    assert Vp9Pictures(b"").scan(hidden_key) == CodedPicture(is_start=True, is_shown=False)


def test_a_codec_that_is_not_known_is_left_to_plain_decoding():
    with pytest.raises(UnverifiedStreamError, match="codec snow"):
        scanner_for("snow", b"")
