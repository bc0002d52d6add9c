"""VideoReader: the contract of every decoder, and the errors for bad files."""

import os
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from support.videos import frame_number, sequential_frames, write_silence, write_video

from tsn_tsm_plugin.data.decoders.pyav import PyAVDecoder
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.registry import DECODERS


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("reader") / "numbers.mp4", 30)


def test_frames_carry_the_number_they_were_asked_by_in_any_order_with_repeats(video):
    wanted = [29, 0, 7, 7, 12, 11]
    with VideoReader(video) as reader:
        frames = reader.read(wanted)
    assert frames.shape == (6, 3, 48, 64) and frames.dtype == torch.uint8
    assert [frame_number(frame) for frame in frames] == wanted


def test_the_header_names_frames_rate_duration_and_size(video):
    with VideoReader(video) as reader:
        assert (reader.num_frames, reader.fps, reader.duration) == (30, 25.0, 1.2)
        assert (reader.width, reader.height) == (64, 48)


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor, lambda x: range(3, 6)])
def test_any_sequence_of_whole_numbers_is_an_index(video, kind):
    frames = VideoReader(video).read(kind([3, 4, 5]))
    assert [frame_number(frame) for frame in frames] == [3, 4, 5]


def test_no_index_gives_no_frame(video):
    assert VideoReader(video).read([]).shape == (0, 3, 48, 64)


@pytest.mark.parametrize("index", [30, -1])
def test_an_index_outside_the_video_is_named_with_path_and_length(video, index):
    with pytest.raises(
        IndexError, match=re.escape(f"{video}: frame index must be in [0, num_frames=30), got {index}")
    ):
        VideoReader(video).read([0, index])


def test_a_fraction_is_no_frame_index(video):
    with pytest.raises(TypeError):
        VideoReader(video).read([0.5])


def test_a_pickled_reader_opens_the_file_again(video):
    reader = pickle.loads(pickle.dumps(VideoReader(video, num_threads=1)))
    assert torch.equal(reader.read([3]), VideoReader(video).read([3]))


def test_a_closed_reader_opens_the_file_again(video):
    reader = VideoReader(video)
    reader.close()
    assert frame_number(reader.read([4])[0]) == 4


def test_bad_paths_and_files_are_errors_with_a_remedy(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is no video " * 100)
    (tmp_path / "notes.txt").write_text("FFmpeg would draw this text as a film " * 100)
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "gone.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    write_silence(tmp_path / "sound.m4a")
    cases = {
        "missing.mp4": "no such file",
        "": "is a directory",
        "empty.mp4": "is empty (0 bytes)",
        "text.mp4": "cannot be opened as a video",
        "dangling.mp4": "is a link to",
        "pipe.mp4": "cannot be read (a named pipe is not a regular file)",
        "notes.txt": "cannot be opened as a video",
        "sound.m4a": "holds no video stream",
    }
    for name, reason in cases.items():
        path = tmp_path / name
        with pytest.raises(VideoError, match=re.escape(f"{path}: {reason}")):
            VideoReader(path)


def test_a_file_without_read_permission_is_an_error(video, monkeypatch):
    def refuse(path, flags, *args, **kwargs):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(VideoError, match="may not read it"):
        VideoReader(video)


def test_every_frame_equals_plain_decoding(video):
    assert torch.equal(VideoReader(video).read(range(30)), sequential_frames(video))


@pytest.mark.parametrize(
    "name", ["with space.mp4", "http:colon.mp4", "100%03d.mp4", "concat:a|b.mp4", "é ü.mp4", "#?&.mp4"]
)
def test_a_file_name_is_only_a_name(tmp_path, video, name):
    (tmp_path / name).write_bytes(video.read_bytes())
    assert frame_number(VideoReader(tmp_path / name).read([9])[0]) == 9


SCRIPTS = {
    "ffconcat": "ffconcat version 1.0\nfile numbers.mp4\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\nnumbers.mp4\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?><MPD><Period><BaseURL>numbers.mp4</BaseURL></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".ffconcat", ".mpd", ".sdp"])
@pytest.mark.parametrize("kind", SCRIPTS)
def test_a_script_that_names_other_files_is_no_video(tmp_path, video, kind, suffix):
    (tmp_path / "numbers.mp4").write_bytes(video.read_bytes())
    path = tmp_path / f"script{suffix}"
    path.write_text(SCRIPTS[kind])
    with pytest.raises(VideoError, match="cannot be opened as a video"):
        VideoReader(path)


def test_threads_share_a_reader(tmp_path):
    path = write_video(tmp_path / "shared.mp4", 60)
    expected = sequential_frames(path)
    reader = VideoReader(path)
    wanted = [[number, (7 * number) % 60, 59 - number] for number in range(60)]
    with ThreadPoolExecutor(4) as pool:
        for indices, frames in zip(wanted, pool.map(reader.read, wanted), strict=True):
            assert torch.equal(frames, expected[indices])


def test_verification_lets_exact_frames_through(video):
    reader = VideoReader(video, verify=True)
    assert frame_number(reader.read([7])[0]) == 7
    assert reader.is_sparse


@pytest.mark.parametrize("in_environment", [False, True])
def test_verification_names_the_file_whose_frames_differ(video, monkeypatch, in_environment):
    class OffByOne(PyAVDecoder):
        def read(self, indices):
            return super().read([index + (not self.is_plain) for index in indices])

    monkeypatch.setattr(DECODERS, "get", lambda name: OffByOne)
    monkeypatch.setattr("tsn_tsm_plugin.data.decoders.pyav.PyAVDecoder", OffByOne)
    if in_environment:
        monkeypatch.setenv("TSN_TSM_PLUGIN_VERIFY", "1")
    reader = VideoReader(video, verify=not in_environment)
    with pytest.raises(VideoError, match=rf"^{re.escape(str(video))}: frames \[3\] differ from a plain"):
        reader.read([3])


def test_colours_that_cannot_be_converted_are_an_error_that_names_the_file_and_the_frame(tmp_path):
    path = write_video(tmp_path / "odd.mp4", 4, options={"x264-params": "colormatrix=YCgCo"})
    with pytest.raises(VideoError, match=re.escape(f"{path}: frame 2 cannot be converted to rgb24")):
        VideoReader(path).read([2])


def test_a_read_that_takes_too_much_memory_is_refused(video, monkeypatch):
    monkeypatch.setattr("tsn_tsm_plugin.data.decoders.container.MAX_READ_BYTES", 3 * 48 * 64 * 2)
    assert len(VideoReader(video).read([1, 2])) == 2
    with pytest.raises(VideoError, match="3 frames of 64x48 pixels take"):
        VideoReader(video).read([1, 2, 3])


def test_the_rate_comes_from_the_time_stamps_if_the_header_has_another(tmp_path):
    path = write_video(tmp_path / "slow.mkv", 20, pts=lambda number: 3 * number + number % 2)
    assert VideoReader(path).fps == pytest.approx(25 / 3, rel=0.03)
