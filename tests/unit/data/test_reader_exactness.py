"""Sparse reading equals plain decoding from the start, byte for byte, whatever the codec and container."""

from itertools import product

import av
import pytest
import torch
from support.videos import numbered_frames, sequential_frames, write_video

from tsn_tsm_plugin.data.bitstream import packet_scan
from tsn_tsm_plugin.data.decoders.pyav import PyAVDecoder
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.errors import VideoError

X265 = "log-level=none:pools=none:frame-threads=1"
SMALL_GROUPS, LARGE_GROUP = (7, 3), (250, 2)


def h264(suffix, **options):
    return {"codec": "libx264", "suffix": suffix, "options": options}


REORDERING = {
    "h264.mp4": h264("mp4"),
    "h264.mkv": h264("mkv"),
    "h264.flv": h264("flv"),
    "h264-open.mp4": h264("mp4", **{"x264-params": "open-gop=1"}),
    "h264-strict.mp4": h264("mp4", **{"x264-params": "b-pyramid=strict"}),
    "h264-slices.mp4": h264("mp4", **{"x264-params": "slices=3"}),
    "hevc-open.mp4": {"codec": "libx265", "suffix": "mp4", "options": {"x265-params": f"open-gop=1:{X265}"}},
    "hevc.mkv": {"codec": "libx265", "suffix": "mkv", "options": {"x265-params": f"open-gop=0:{X265}"}},
    "hevc-layers.mp4": {
        "codec": "libx265",
        "suffix": "mp4",
        "options": {"x265-params": f"temporal-layers=3:{X265}"},
    },
    "mpeg4.avi": {"codec": "mpeg4", "suffix": "avi"},
    "mpeg4.mp4": {"codec": "mpeg4", "suffix": "mp4"},
    "mpeg4-qpel.avi": {
        "codec": "mpeg4",
        "suffix": "avi",
        "options": {"flags": "+qpel+mv4", "mpeg_quant": "1"},
    },
    "mpeg4.m4v": {"codec": "mpeg4", "suffix": "m4v"},
}
FORWARD = {
    "h264-intra-refresh.mp4": h264("mp4", **{"x264-params": "intra-refresh=1"}),
    "h264-zerolatency.mp4": h264("mp4", tune="zerolatency"),
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "suffix": "webm",
        "options": {"cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "16"},
    },
    "av1.mkv": {"codec": "libsvtav1", "suffix": "mkv", "options": {"preset": "12"}},
    "av1.mp4": {"codec": "libsvtav1", "suffix": "mp4", "options": {"preset": "12"}},
}
LEFT_TO_PLAIN_DECODING = {
    "h264-mbaff.mp4": h264("mp4", flags="+ilme+ildct"),
    "mpeg2.mpg": {"codec": "mpeg2video", "suffix": "mpg"},
    "mpeg2-interlaced.mkv": {"codec": "mpeg2video", "suffix": "mkv", "options": {"flags": "+ilme+ildct"}},
    "mpeg1.mpg": {"codec": "mpeg1video", "suffix": "mpg"},
    "vp8.webm": {
        "codec": "libvpx",
        "suffix": "webm",
        "options": {"cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "16"},
    },
    "mjpeg.avi": {"codec": "mjpeg", "suffix": "avi", "pix_fmt": "yuvj420p", "b_frames": 0},
    "prores-alpha.mov": {"codec": "prores_ks", "suffix": "mov", "pix_fmt": "yuva444p10le"},
    "h264.avi": h264("avi"),
    "h264.ts": {"codec": "libx264", "suffix": "ts", "container": "mpegts"},
    "h264.h264": h264("h264"),
    "hevc.hevc": {"codec": "libx265", "suffix": "hevc", "options": {"x265-params": X265}},
    "ffv1.mkv": {"codec": "ffv1", "suffix": "mkv", "b_frames": 0},
    "gif.gif": {"codec": "gif", "suffix": "gif", "pix_fmt": "rgb8", "b_frames": 0},
}


def write_case(folder, case, frames=36, **settings):
    settings = {name: value for name, value in case.items() if name != "suffix"} | settings
    return write_video(folder / f"video.{case['suffix']}", frames, **settings)


def assert_reads_are_plain_decoding(path, *, num_reads=20):
    """Check random reads with a warm and with fresh decoders, then the whole video; return a decoder."""
    expected = sequential_frames(path)
    num_frames = len(expected)
    generator = torch.Generator().manual_seed(0)
    decoder = PyAVDecoder(path)
    assert decoder.num_frames == num_frames
    for number in range(num_reads):
        count = int(torch.randint(1, 9, (1,), generator=generator))
        wanted = torch.randint(num_frames, (count,), generator=generator).tolist()
        if number % 4 == 0:
            decoder = PyAVDecoder(path)
        assert torch.equal(decoder.read(wanted), expected[wanted]), f"frames {wanted} differ"
    assert torch.equal(decoder.read(range(num_frames)), expected)
    return decoder


@pytest.mark.parametrize(("name", "group"), list(product(REORDERING, [SMALL_GROUPS, LARGE_GROUP])))
def test_random_frames_of_reordered_video_are_exact_and_sparse(tmp_path, name, group):
    path = write_case(tmp_path, REORDERING[name], gop_size=group[0], b_frames=group[1])
    assert assert_reads_are_plain_decoding(path).is_sparse


@pytest.mark.parametrize(("name", "gop_size"), list(product(FORWARD, [1, 12])))
def test_random_frames_of_video_without_reordering_are_exact_and_sparse(tmp_path, name, gop_size):
    path = write_case(tmp_path, FORWARD[name], gop_size=gop_size, b_frames=0)
    assert assert_reads_are_plain_decoding(path).is_sparse


@pytest.mark.parametrize("name", LEFT_TO_PLAIN_DECODING)
def test_what_packets_cannot_vouch_for_is_decoded_plainly(tmp_path, name):
    decoder = assert_reads_are_plain_decoding(write_case(tmp_path, LEFT_TO_PLAIN_DECODING[name]), num_reads=4)
    assert not decoder.is_sparse


@pytest.mark.parametrize("num_threads", [1, 3])
def test_threads_change_no_frame(tmp_path, num_threads):
    path = write_case(tmp_path, REORDERING["h264.mp4"], gop_size=12)
    with VideoReader(path, num_threads=num_threads) as reader:
        for wanted in ([30, 2, 17], list(range(36))):
            assert torch.equal(reader.read(wanted), sequential_frames(path)[wanted])


@pytest.mark.parametrize("name", ["h264.mp4", "mpeg4.avi", "vp9.webm"])
def test_packets_too_large_to_hold_are_read_from_the_file_again(tmp_path, monkeypatch, name):
    monkeypatch.setattr(packet_scan, "MAX_HELD_BYTES", 1000)
    case = (REORDERING | FORWARD)[name]
    decoder = assert_reads_are_plain_decoding(write_case(tmp_path, case, b_frames=0), num_reads=8)
    assert decoder.is_sparse


ODD = {
    "one frame": {"frames": numbered_frames(1)},
    "odd 4:2:0": {"frames": numbered_frames(9, height=35, width=51), "codec": "libvpx-vp9", "b_frames": 0},
    "odd 4:4:4": {"frames": numbered_frames(9, height=35, width=51), "pix_fmt": "yuv444p"},
    "one pixel": {
        "frames": numbered_frames(5, height=1, width=1),
        "codec": "ffv1",
        "pix_fmt": "bgr0",
        "b_frames": 0,
    },
    "10 bit": {"frames": 9, "pix_fmt": "yuv420p10le"},
    "full range": {"frames": 9, "pix_fmt": "yuvj420p"},
    "grey": {"frames": 9, "pix_fmt": "gray"},
    "alpha": {"frames": 9, "codec": "libvpx-vp9", "pix_fmt": "yuva420p", "b_frames": 0},
    "variable rate": {"frames": 30, "pts": lambda number: number * number},
    "negative start": {"frames": 30, "pts": lambda number: number - 7},
    "late start": {"frames": 30, "pts": lambda number: number + 100},
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_odd_videos_are_exact(tmp_path, name, suffix):
    if ODD[name].get("codec") == "ffv1" and suffix == "mp4":
        suffix = "nut"
    assert_reads_are_plain_decoding(write_video(tmp_path / f"video.{suffix}", **ODD[name]), num_reads=6)


def copy_packets(source, target, *, shift_frames=0, skip_packets=0, display_as_decoded=False):
    """Copy a stream without encoding it again: moved in time, without its first packets, with wrong times."""
    with (
        av.open(str(source)) as given,
        av.open(str(target), "w", options={"avoid_negative_ts": "disabled"}) as made,
    ):
        stream = given.streams.video[0]
        copied = made.add_stream_from_template(stream)
        shift = int(shift_frames / stream.average_rate / stream.time_base)
        for number, packet in enumerate(given.demux(stream)):
            if packet.dts is None or number < skip_packets:
                continue
            packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copied
            if display_as_decoded:
                packet.pts = packet.dts
            made.mux(packet)
    return target


@pytest.mark.parametrize("shift_frames", [-5, -17])
def test_frames_hidden_by_an_edit_list_are_not_counted(tmp_path, shift_frames):
    source = write_video(tmp_path / "source.mp4", 40, gop_size=12)
    path = copy_packets(source, tmp_path / "edited.mp4", shift_frames=shift_frames)
    decoder = assert_reads_are_plain_decoding(path)
    assert decoder.num_frames == 40 + shift_frames and decoder.is_sparse


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "hevc.mkv"])
def test_wrong_time_stamps_do_not_change_the_order_of_frames(tmp_path, name):
    source = write_case(tmp_path, REORDERING[name], gop_size=12)
    path = copy_packets(source, tmp_path / f"wrong{source.suffix}", display_as_decoded=True)
    assert not assert_reads_are_plain_decoding(path, num_reads=6).is_sparse


@pytest.mark.parametrize("skip_packets", [3, 12, 13, 14])
@pytest.mark.parametrize("name", ["h264.mkv", "hevc-open.mp4"])
def test_a_video_cut_in_the_middle_of_a_group_counts_only_what_decodes(tmp_path, name, skip_packets):
    source = write_case(tmp_path, REORDERING[name], gop_size=12)
    assert_reads_are_plain_decoding(
        copy_packets(source, tmp_path / f"cut{source.suffix}", skip_packets=skip_packets), num_reads=6
    )


def joined(tmp_path, *frames):
    parts = [
        write_video(tmp_path / f"{number}.h264", part, gop_size=6, options={"preset": preset})
        for number, (part, preset) in enumerate(zip(frames, ["medium", "ultrafast"], strict=True))
    ]
    path = tmp_path / "joined.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def test_parameter_sets_that_change_midway_are_exact(tmp_path):
    path = joined(tmp_path, numbered_frames(12), numbered_frames(12))
    assert not assert_reads_are_plain_decoding(path, num_reads=6).is_sparse


def test_frames_of_two_sizes_are_read_apart_but_not_together(tmp_path):
    path = joined(tmp_path, numbered_frames(12), numbered_frames(12, height=64, width=96))
    reader = VideoReader(path)
    assert reader.read([3]).shape == (1, 3, 48, 64) and reader.read([20]).shape == (1, 3, 64, 96)
    with pytest.raises(VideoError, match="frame 20 is 96x64, others are 64x48"):
        reader.read([3, 20])


REAL = {
    "arm_wrestling.mp4": (280, 340, 256),
    "low_fps.mp4": (57, 340, 256),
    "mpeg4.avi": (164, 320, 240),
    "two_video_streams.mp4": (390, 480, 270),
    "h265_video.mp4": (10, 128, 128),
    "h264_10bits.mp4": (30, 200, 200),
    "av1_video.mkv": (125, 640, 360),
}


@pytest.mark.parametrize("name", REAL)
def test_real_videos_are_exact(shared_videos, name):
    decoder = assert_reads_are_plain_decoding(shared_videos / name, num_reads=8)
    assert (decoder.num_frames, decoder.width, decoder.height) == REAL[name]
    assert decoder.is_sparse == (name != "mpeg4.avi")
