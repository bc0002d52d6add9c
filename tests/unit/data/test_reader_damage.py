"""Damaged files: a clear error or a correct read, never a hang, a crash or a leak."""

import gc
import random
import re
import resource
from pathlib import Path

import av
import pytest
import torch
from support.videos import frame_number, sequential_frames, write_video

from tsn_tsm_plugin.data.decoders import container
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.errors import VideoError

FRAMES = 24


def written(folder: Path, name: str) -> Path:
    settings = {
        "late-index.mp4": {},
        "early-index.mp4": {"container_options": {"movflags": "+faststart"}},
        "fragments.mp4": {"container_options": {"movflags": "+frag_keyframe+empty_moov"}},
        "video.mkv": {},
        "video.avi": {"codec": "mpeg4"},
        "video.webm": {"codec": "libvpx-vp9", "b_frames": 0, "options": {"cpu-used": "8"}},
        "video.flv": {},
        "video.mpg": {"codec": "mpeg2video"},
        "images.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "b_frames": 0},
        "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:pools=none"}},
        "animation.gif": {"codec": "gif", "pix_fmt": "rgb8", "b_frames": 0},
    }
    return write_video(folder / name, FRAMES, **settings[name])


@pytest.mark.parametrize("percent", [5, 30, 60, 90])
@pytest.mark.parametrize(
    "name", ["late-index.mp4", "early-index.mp4", "fragments.mp4", "video.mkv", "video.webm", "video.avi"]
)
def test_a_file_cut_short_is_an_error_that_names_it(tmp_path, name, percent):
    path = written(tmp_path, name)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * percent // 100])
    with pytest.raises(VideoError, match=f"^{re.escape(str(path))}: .*(cut short|damaged|holds no)"):
        VideoReader(path)


def test_a_file_cut_behind_its_last_frame_still_reads(tmp_path):
    path = written(tmp_path, "video.avi")
    path.write_bytes(path.read_bytes()[:-40])  # of the index at the end
    assert frame_number(VideoReader(path).read([FRAMES - 1])[0]) == FRAMES - 1


def test_a_header_that_claims_enormous_frames_is_an_error(tmp_path, monkeypatch):
    path = written(tmp_path, "late-index.mp4")
    monkeypatch.setattr(container, "MAX_FRAME_PIXELS", 64 * 48 - 1)
    with pytest.raises(VideoError, match="claims frames of 64x48 pixels, so it is damaged"):
        VideoReader(path)


def test_damage_in_a_decoded_packet_is_painted_over_as_plain_decoding_does_or_an_error(tmp_path):
    path = written(tmp_path, "early-index.mp4")
    data = bytearray(path.read_bytes())
    for position in range(len(data) - 2000, len(data) - 1000):
        data[position] = 0x55
    path.write_bytes(data)
    try:
        expected = sequential_frames(path)
    except av.FFmpegError:
        with pytest.raises(VideoError, match="is damaged"):
            VideoReader(path).read(range(FRAMES))
    else:
        assert torch.equal(VideoReader(path).read(range(len(expected))), expected)


def mutated(data: bytes, draw: random.Random) -> bytes:
    """Cut, insert, repeat, zero or flip a few bytes."""
    position, length = draw.randrange(len(data)), draw.randrange(1, 200)
    kind = draw.choice(["flip", "flip", "noise", "zero", "cut", "insert", "repeat"])
    if kind == "cut":
        return data[:position]
    if kind == "insert":
        return data[:position] + draw.randbytes(length) + data[position:]
    if kind == "repeat":
        return data[: position + length] + data[position:]
    changed = bytearray(data)
    if kind == "flip":
        for _ in range(draw.choice([1, 3, 20])):
            changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    else:
        end = min(position + length, len(data))
        changed[position:end] = draw.randbytes(end - position) if kind == "noise" else bytes(end - position)
    return bytes(changed)


@pytest.mark.parametrize(
    "name",
    [
        "early-index.mp4",
        "video.mkv",
        "video.avi",
        "video.webm",
        "video.flv",
        "video.mpg",
        "images.avi",
        "hevc.mp4",
        "animation.gif",
    ],
)
def test_a_mutated_file_is_an_error_or_reads_as_plain_decoding_reads_it(tmp_path, name):
    data = written(tmp_path, name).read_bytes()
    path = tmp_path / f"mutated{Path(name).suffix}"
    draw = random.Random(name)
    for _ in range(30):
        path.write_bytes(mutated(data, draw))
        try:
            reader = VideoReader(path)
            frames = reader.read(range(reader.num_frames))
        except VideoError as error:
            assert str(error).startswith(f"{path}: ")
            continue
        assert frames.dtype == torch.uint8 and frames.shape[:2] == (reader.num_frames, 3)
        try:
            expected = sequential_frames(path)
        except (av.FFmpegError, ValueError, IndexError):
            continue  # Plain decoding stops at a packet behind the last frame, which is never read here.
        assert torch.equal(frames, expected)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
@pytest.mark.parametrize("name", ["late-index.mp4", "video.mkv", "animation.gif"])
def test_hundreds_of_reads_leave_no_file_open_and_no_memory_behind(tmp_path, name):
    path = written(tmp_path, name)
    broken = tmp_path / f"broken{path.suffix}"
    broken.write_bytes(path.read_bytes()[:200])

    def read_many(times):
        for number in range(times):
            VideoReader(path).read([number % FRAMES, 3])
            with pytest.raises(VideoError):
                VideoReader(broken)

    read_many(50)
    gc.collect()
    files, peak_kib = open_files(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read_many(250)
    gc.collect()
    assert open_files() == files
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kib < 4096


def test_an_open_reader_holds_no_file_open(tmp_path):
    path = written(tmp_path, "video.mkv")
    before = open_files()
    readers = [VideoReader(path) for _ in range(20)]
    assert open_files() == before
    path.unlink()
    assert frame_number(readers[0].read([7])[0]) == 7
