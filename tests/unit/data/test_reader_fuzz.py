"""Reading equals a plain decode on streams that were cut, joined, telecined or damaged: 500 files by seed."""

import ast
import importlib
import inspect
import random
import sys
import types

import av
import pytest
import torch
from support import video_surgery
from support.coded_clips import RECIPES, write_clips, write_palettes
from support.video_surgery import operate

from tsn_tsm_plugin.data.bitstream import packet_scan
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.errors import VideoError

NUM_FILES = {"h264": 180, "hevc": 90, "mpeg4": 90, "mpeg2video": 50, "vp9": 35, "av1": 35}
NUM_PALETTES = 20


def plain(path):
    """Return frames and times of a plain decode, and whether it came to the end."""
    frames, times = [], []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            stream.codec_context.thread_count = 1
            for frame in container.decode(stream):
                frames.append(torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1))
                times.append(frame.time)
    except (av.FFmpegError, IndexError):
        return frames, times, False
    return frames, times, True


def difference(path, draw):
    """Return how reading differs from a plain decode, or nothing."""
    expected, times, is_whole = plain(path)
    try:
        shared, threaded = VideoReader(path), VideoReader(path, num_threads=2)
    except VideoError as error:
        return (
            f"cannot be opened: {error}" if is_whole and expected and "cut short" not in str(error) else None
        )
    if is_whole and shared.num_frames != len(expected):
        return f"{shared.num_frames} frames, {len(expected)} when decoded plainly"
    if None not in times and len(times) > 1 and times == sorted(times) and is_whole:
        mean = (len(times) - 1) / (times[-1] - times[0])
        if abs(shared.fps / mean - 1) > 0.3:
            return f"rate {shared.fps}, {mean} by the time stamps"
    num_frames = min(shared.num_frames, len(expected) or shared.num_frames)
    singles = [[number] for number in draw.sample(range(num_frames), min(10, num_frames))]
    sets = [sorted(draw.sample(range(num_frames), min(5, num_frames))) for _ in range(6)]
    for name, wanted in [
        *(("a new reader", indices) for indices in singles),
        *(("one reader", indices) for indices in sets),
        *(("two threads", indices) for indices in sets[:2]),
    ]:
        try:
            reader = {"one reader": shared, "two threads": threaded}.get(name) or VideoReader(path)
            frames = reader.read(wanted)
        except VideoError as error:
            if is_whole and "must have one size" not in str(error):
                return f"{name} cannot read {wanted}: {error}"
            continue
        if expected and not all(map(torch.equal, frames, (expected[index] for index in wanted))):
            return f"{name} reads other frames for {wanted}"
    return None


@pytest.mark.slow
@pytest.mark.parametrize("codec", RECIPES)
def test_a_stream_that_went_through_surgery_reads_as_a_plain_decode(tmp_path, codec):
    clips = write_clips(tmp_path / "clips", codec)
    found, num_written = [], 0
    for seed in range(3 * NUM_FILES[codec]):
        draw = random.Random(f"{codec} {seed}")
        done, clip = operate(clips, draw)
        path = tmp_path / f"{seed}{clip.path.suffix}"
        try:
            clip.write(path)
        except (av.FFmpegError, ValueError, OverflowError):
            continue  # The muxer does not take such packets.
        num_written += 1
        if problem := difference(path, draw):
            found.append(f"seed {seed} ({done}): {problem}")
        else:
            path.unlink()
        if num_written == NUM_FILES[codec]:
            break
    assert num_written == NUM_FILES[codec]
    assert not found, f"{len(found)} of {num_written}:\n" + "\n".join(found)


@pytest.mark.slow
def test_raw_video_whose_palette_changes_reads_as_a_plain_decode(tmp_path):
    for seed in range(NUM_PALETTES):
        draw = random.Random(seed)
        path = write_palettes(tmp_path / "palette.avi", set(draw.sample(range(1, 30), seed % 4)))
        assert difference(path, draw) is None


@pytest.fixture
def without_proof(monkeypatch):
    """Let the readers of streams accept everything: they lose every statement that refuses a stream."""

    class Drop(ast.NodeTransformer):
        def visit_Raise(self, node):
            return ast.Pass() if "UnverifiedStreamError" in ast.unparse(node) else node

    rooms = packet_scan.__name__.rpartition(".")[0]
    changed = {}
    for name in ("nal_units", "h264", "hevc", "mpeg4"):
        original = importlib.import_module(f"{rooms}.{name}")
        tree = ast.fix_missing_locations(Drop().visit(ast.parse(inspect.getsource(original))))
        changed[name] = types.ModuleType(original.__name__)
        exec(compile(tree, original.__file__, "exec"), vars(changed[name]))
        monkeypatch.setitem(sys.modules, original.__name__, changed[name])
    monkeypatch.setitem(packet_scan._SCANNERS, "h264", changed["h264"].H264Pictures)
    monkeypatch.setitem(packet_scan._SCANNERS, "hevc", changed["hevc"].HevcPictures)
    monkeypatch.setitem(packet_scan._SCANNERS, "mpeg4", changed["mpeg4"].Mpeg4Pictures)
    monkeypatch.setattr(packet_scan, "_check_times", lambda stamps: None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "name", "other", "operation"),
    [
        ("h264", "structure.mkv", "default.mp4", "show_otherwise"),
        ("h264", "default.mp4", "offset.mp4", "toggle_units"),
        ("h264", "lossless.mkv", "default.mp4", "toggle_units"),
        ("h264", "default.mp4", "range.mp4", "join_with_sets"),
        ("hevc", "closed.mp4", "open.mkv", "drop"),
        ("hevc", "closed.mp4", "open.mkv", "cut"),
        ("hevc", "open.mkv", "open.mkv", "join"),
        ("mpeg4", "b.mp4", "b.mp4", "drop"),
        ("mpeg4", "b.avi", "b.mp4", "repeat"),
        ("mpeg4", "qpel.mkv", "b.mp4", "insert_units"),
        ("mpeg4", "qpel.mkv", "b.mp4", "insert_uncoded"),
    ],
)
def test_without_the_proof_the_fuzzer_finds_every_kind_of_surgery(
    tmp_path, without_proof, codec, name, other, operation
):
    clips = {clip.path.name: clip for clip in write_clips(tmp_path, codec)}

    def found(seed):
        draw = random.Random(seed)
        clip = getattr(video_surgery, operation)(clips[name], [clips[other]], draw)
        path = tmp_path / f"operated{clip.path.suffix}"
        video_surgery.renumber(clip).write(path)
        return difference(path, draw)

    assert any(map(found, range(30)))
