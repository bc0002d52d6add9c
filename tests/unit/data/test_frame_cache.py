"""Decoded frames kept from one read to the next: same pixels, decoded once, bounded memory."""

import av
import pytest
import torch
from support.videos import sequential_frames, write_video

from tsn_tsm_plugin.data.decoders import pyav
from tsn_tsm_plugin.data.decoders.frame_cache import FrameCache
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.transforms.segments import dense_indices


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("cache") / "video.mp4", 40, gop_size=20)


@pytest.fixture
def decoded_packets(monkeypatch):
    """The number of packets in each call of the decoder."""
    calls = []
    decode = pyav._decoded

    def counted(context, packets):
        packets = list(packets)
        calls.append(len(packets))
        yield from decode(context, packets)

    monkeypatch.setattr(pyav, "_decoded", counted)
    return calls


def frame(value):
    plain = av.VideoFrame(64, 48, "gray8")
    plain.planes[0].update(bytes([value]) * plain.planes[0].buffer_size)
    return plain


def test_views_read_one_by_one_are_those_read_together(video):
    views = dense_indices(40, 4, mode="test", sample_range=16, num_positions=5).view(5, 4)
    with VideoReader(video, cache_mib=1) as reader:
        one_by_one = torch.cat([reader.read(view) for view in views])

    assert torch.equal(one_by_one, sequential_frames(video)[views.flatten()])


def test_a_frame_that_was_read_or_decoded_on_the_way_is_not_decoded_again(video, decoded_packets):
    with VideoReader(video, cache_mib=1) as reader:
        first = reader.read([15, 3])
        decoded_packets.clear()

        again = reader.read([3, 15, 3, 0, 19, 8])

    assert decoded_packets == []
    assert torch.equal(again[:3], first[[1, 0, 1]])
    assert torch.equal(again, sequential_frames(video)[[3, 15, 3, 0, 19, 8]])


def test_a_group_of_pictures_that_the_cache_cannot_hold_is_decoded_no_further_than_wanted(
    video, decoded_packets
):
    decoder = pyav.PyAVDecoder(video, cache_bytes=3 * 2 * 64 * 48)

    frames = torch.cat([decoder.read([5]), decoder.read([5, 3])])

    assert max(decoded_packets) <= 6
    assert torch.equal(frames, sequential_frames(video)[[5, 5, 3]])


def test_without_a_cache_frames_are_decoded_each_time(video, decoded_packets):
    with VideoReader(video) as reader:
        reader.read([3])
        decoded_packets.clear()
        reader.read([3])

    assert sum(decoded_packets) > 0


def test_plain_decoding_fills_the_cache_too(tmp_path, monkeypatch):
    path = write_video(tmp_path / "video.mkv", 12, codec="ffv1")
    with VideoReader(path, cache_mib=1) as reader:
        expected = reader.read([7, 2])
        monkeypatch.setattr(pyav.PyAVDecoder, "_plain_frames", None)

        assert torch.equal(reader.read([2, 7]), expected[[1, 0]])


def test_closing_lets_go_of_the_frames(video, decoded_packets):
    reader = VideoReader(video, cache_mib=1)
    reader.read([3])
    reader.close()
    decoded_packets.clear()

    reader.read([3])

    assert sum(decoded_packets) > 0


def test_the_frames_that_were_not_used_for_longest_make_room():
    cache = FrameCache(2 * frame(0).planes[0].buffer_size)
    for number in (0, 1):
        cache.put(number, frame(number))
    assert cache.get(0) is not None

    cache.put(2, frame(2))

    assert [number for number in range(3) if cache.get(number) is not None] == [0, 2]


def test_a_frame_larger_than_the_cache_is_not_kept():
    cache = FrameCache(1000)
    cache.put(0, frame(0))

    assert len(cache) == 0


def test_kept_frames_are_as_decoded(video):
    decoder = pyav.PyAVDecoder(video, cache_bytes=1 << 20)
    decoder.read([0])

    kept = decoder._cache.get(0)

    assert kept.format.name == "yuv420p"


@pytest.mark.parametrize("num_frames, frame_bytes, fits", [(3, 250, True), (4, 250, False), (4, 0, False)])
def test_frames_fit_with_a_third_more_for_padding_and_never_without_a_known_size(
    num_frames, frame_bytes, fits
):
    assert FrameCache(1000).can_keep(num_frames, frame_bytes) is fits
