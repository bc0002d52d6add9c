import io
import re
import sys
import threading
import types

import numpy as np
import pytest
from support.videos import (
    frame_number,
    numbered_frames,
    rotation_matrix,
    sequential_frames,
    write_video,
)

from tsn_tsm_plugin.data import frame_stream
from tsn_tsm_plugin.data.frame_stream import FrameStream, StreamedFrame, iterate_frames, open_source
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.errors import VideoError


def frames_and_words(path) -> tuple[list[StreamedFrame], list[str]]:
    words: list[str] = []
    with open_source(str(path)) as container:
        return list(iterate_frames(container, words.append)), words


def test_the_frames_equal_a_plain_decode_with_their_times(tmp_path):
    path = write_video(tmp_path / "a.mp4", 12, fps=25)
    frames, words = frames_and_words(path)
    plain = sequential_frames(path).permute(0, 2, 3, 1).numpy()
    assert [frame.index for frame in frames] == list(range(12))
    assert np.array_equal(np.stack([frame.rgb for frame in frames]), plain)
    assert [round(frame.seconds, 3) for frame in frames[:3]] == [0.0, 0.04, 0.08]
    assert words == []


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_with_a_display_matrix_equal_a_video_readers(tmp_path, degrees):
    path = write_video(tmp_path / "a.mp4", 5, display_matrix=rotation_matrix(degrees))
    frames, words = frames_and_words(path)
    expected = VideoReader(path).read(range(5)).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(np.stack([frame.rgb for frame in frames]), expected)
    assert words == []


def test_a_display_matrix_that_is_not_followed_is_reported(tmp_path):
    path = write_video(tmp_path / "a.mp4", 5, display_matrix=rotation_matrix(45))
    frames, words = frames_and_words(path)
    assert [frame_number(frame.rgb) for frame in frames] == [0, 1, 2, 3, 4]
    assert len(words) == 1 and "not a multiple of 90 degrees; it is ignored" in words[0]


def test_a_change_of_the_frame_size_is_passed_on_and_reported(tmp_path):
    parts = [
        write_video(
            tmp_path / f"{height}.h264", numbered_frames(5, height=height), container="h264", b_frames=0
        )
        for height in (48, 64)
    ]
    joined = tmp_path / "both.h264"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, words = frames_and_words(joined)
    assert [frame.rgb.shape[0] for frame in frames] == [48] * 5 + [64] * 5
    assert words == ["frame 5: the size changed from 64 x 48 to 64 x 64 pixels"]


def test_a_corrupt_frame_is_skipped_and_reported_and_the_others_are_kept(tmp_path):
    # In this codec every frame stands alone.
    path = write_video(tmp_path / "a.mov", 6, codec="png", pix_fmt="rgb24", b_frames=0)
    content = bytearray(path.read_bytes())
    third = [match.start() for match in re.finditer(b"\x89PNG", content)][2]
    content[third : third + 200] = bytes(200)
    path.write_bytes(content)
    frames, words = frames_and_words(path)
    assert [frame_number(frame.rgb) for frame in frames] == [0, 1, 3, 4, 5]
    assert len(words) == 1 and words[0].startswith("frame 2: corrupt, skipped")


def test_a_file_that_breaks_off_ends_with_what_it_held(tmp_path):
    path = write_video(tmp_path / "a.ts", 50, b_frames=0, container="mpegts")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, _ = frames_and_words(path)
    assert 10 < len(frames) < 45


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no/such/file.mp4", "no/such/file.mp4: cannot be opened as a video"),
        ("97", "camera 97: .* cannot be opened .*Check that it is there and not in use"),
    ],
)
def test_a_source_that_is_not_there_is_named(source, message):
    with pytest.raises(VideoError, match=message):
        FrameStream(source, print)


def test_standard_input_is_a_source(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.ts", 8, b_frames=0, container="mpegts")
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))
    with FrameStream("-", print) as stream:
        assert [frame_number(frame.rgb) for frame in stream] == list(range(8))


def test_standard_input_that_is_no_video_is_refused_with_what_would_do(monkeypatch):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(b"no video at all" * 100)))
    with pytest.raises(VideoError, match="Send MPEG-TS"):
        FrameStream("-", print)


def test_standard_input_that_is_closed_is_reported_at_once(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    words: list[str] = []
    with pytest.raises(VideoError, match="-: standard input is closed. Send a video"):
        FrameStream("-", words.append)
    assert not words


class Source:
    """Frames that come when the test lets them."""

    def __init__(self, monkeypatch, num_frames: int) -> None:
        self.num_frames = num_frames
        self.hold = threading.Event()
        self.sent = threading.Semaphore(0)
        rate = types.SimpleNamespace(average_rate=25, guessed_rate=25)
        self.streams = types.SimpleNamespace(best=lambda kind: rate)
        monkeypatch.setattr(frame_stream, "open_source", lambda source, **_: self)
        monkeypatch.setattr(frame_stream, "iterate_frames", lambda container, report: self.frames())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def frames(self):
        for index in range(self.num_frames):
            yield StreamedFrame(index, index / 25, np.zeros((2, 2, 3), np.uint8))
            self.sent.release()
        self.hold.wait(10)


def test_an_error_of_the_thread_on_opening_is_raised_at_once(monkeypatch):
    def fail(source, **_):
        raise AttributeError("no such thing")

    monkeypatch.setattr(frame_stream, "open_source", fail)
    words: list[str] = []
    with pytest.raises(VideoError, match=r"file: reading it broke off \(AttributeError: no such thing\)"):
        FrameStream("file", words.append)
    assert not words


@pytest.mark.parametrize("name", ["file", "0"])
@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (MemoryError("too large"), VideoError, r"reading it broke off \(MemoryError: too large\)"),
        (VideoError("said already"), VideoError, "^said already$"),
        (BrokenPipeError("of the results"), BrokenPipeError, "of the results"),
    ],
)
def test_an_error_of_the_thread_on_the_way_is_raised_after_the_frames(
    monkeypatch, name, error, raised, message
):
    def frames():
        yield StreamedFrame(0, 0.0, np.zeros((2, 2, 3), np.uint8))
        raise error

    Source(monkeypatch, 1)
    monkeypatch.setattr(frame_stream, "iterate_frames", lambda container, report: frames())
    seen = []
    with FrameStream(name, print) as stream, pytest.raises(raised, match=message):
        for frame in stream:
            seen.append(frame.index)
    assert seen == [0] and not stream.is_given_up


def test_a_source_that_stalls_is_reported_and_given_up_in_the_end(monkeypatch):
    words: list[str] = []
    source = Source(monkeypatch, 1)
    with FrameStream("file", words.append, stall_seconds=0.02, give_up_seconds=0.1) as stream:
        assert len(list(stream)) == 1
        assert stream.is_given_up
        source.hold.set()
    assert words == [
        "no frame for 0.02 s: waiting",
        "no frame for 0.04 s: waiting",
        "no frame for 0.08 s: waiting",
        "no frame for 0.1 s: stopped",
    ]


def test_a_source_that_stalls_and_comes_back_goes_on(monkeypatch):
    words: list[str] = []
    source = Source(monkeypatch, 1)

    def say(text: str) -> None:
        words.append(text)
        source.hold.set()

    with FrameStream("file", say, stall_seconds=0.02, give_up_seconds=5) as stream:
        assert len(list(stream)) == 1
    assert words == ["no frame for 0.02 s: waiting"]


def test_a_camera_that_is_faster_than_the_work_drops_all_but_the_newest_frame(monkeypatch):
    source = Source(monkeypatch, 5)
    with FrameStream("0", print) as stream:
        for _ in range(5):
            source.sent.acquire()
        source.hold.set()
        assert [frame.index for frame in stream] == [4]
        assert stream.num_dropped == 4


def test_a_file_drops_no_frame(monkeypatch):
    source = Source(monkeypatch, 20)
    source.hold.set()
    with FrameStream("file", print) as stream:
        assert [frame.index for frame in stream] == list(range(20))
        assert stream.num_dropped == 0 and not stream.is_given_up


@pytest.mark.parametrize("script", ["ffconcat version 1.0\nfile a.mp4\n", "#EXTM3U\n#EXTINF:1,\na.mp4\n"])
def test_a_source_that_names_other_files_is_refused(tmp_path, script):
    write_video(tmp_path / "a.mp4", 4)
    (tmp_path / "list.mp4").write_text(script)
    with pytest.raises(VideoError, match=r"list\.mp4: cannot be opened as a video"):
        open_source(str(tmp_path / "list.mp4"))
    (tmp_path / "list.m3u8").write_text(script)
    with pytest.raises(VideoError, match=r"list\.m3u8: cannot be opened as a video"):
        open_source(f"file://{tmp_path}/list.m3u8")
