"""VideoReader: the contract every decoder meets, and what a user is told when a file is no good."""

import os
import pickle
import re

import numpy as np
import pytest
import torch
from support.videos import frame_number, sequential_frames, write_silence, write_video

from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.errors import VideoError


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("reader") / "numbers.mp4", 30)


def test_frames_carry_the_number_they_were_asked_by_in_any_order_with_repeats(video):
    wanted = [29, 0, 7, 7, 12, 11]
    with VideoReader(video) as reader:
        frames = reader.read(wanted)
    assert frames.shape == (6, 3, 48, 64) and frames.dtype == torch.uint8
    assert [frame_number(frame) for frame in frames] == wanted


def test_the_header_says_frames_rate_duration_and_size(video):
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


def test_bad_paths_and_files_are_errors_that_say_what_to_do(tmp_path):
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
        "pipe.mp4": "is not a regular file",
        "notes.txt": "holds no video stream",
        "sound.m4a": "holds no video stream",
    }
    for name, reason in cases.items():
        path = tmp_path / name
        with pytest.raises(VideoError, match=re.escape(f"{path}: {reason}")):
            VideoReader(path)


def test_a_file_without_read_permission_is_an_error(video, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
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
