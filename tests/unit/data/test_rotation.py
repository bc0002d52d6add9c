"""Frames are upright: rotated by the container's display matrix, if it has one."""

import pickle
import sys

import av
import numpy as np
import pytest
import torch
from av.bitstream import BitStreamFilterContext
from PIL import Image
from support.videos import numbered_frames, rotation_matrix, sequential_frames, write_video

from tsn_tsm_plugin.data.bitstream import packet_scan
from tsn_tsm_plugin.data.decoders import pyav
from tsn_tsm_plugin.data.decoders.rgb import matrix_of, orientation_of, shown_size, upright
from tsn_tsm_plugin.data.reader import VideoReader

NUM_FRAMES = 24
ANGLES = (90, 180, 270)
ONE = 1 << 16
CODECS = {
    "h264.mp4": {},
    "h264.mkv": {},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:pools=none"}},
    "vp9.mp4": {"codec": "libvpx-vp9", "b_frames": 0, "options": {"cpu-used": "8"}},
    "av1.mp4": {"codec": "libsvtav1", "b_frames": 0, "options": {"preset": "12"}},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "mjpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "b_frames": 0},
    "ffv1.mkv": {"codec": "ffv1", "b_frames": 0},
}


def turned(path, degrees):
    """A plain decode of the whole file, turned counter-clockwise."""
    return torch.rot90(sequential_frames(path), degrees // 90, (2, 3))


@pytest.fixture(scope="module", params=ANGLES)
def video(request, tmp_path_factory):
    """Path of a video and its frames as shown."""
    path = tmp_path_factory.mktemp("rotation") / "video.mp4"
    write_video(path, NUM_FRAMES, display_matrix=rotation_matrix(request.param))
    return path, turned(path, request.param)


@pytest.fixture
def heard(caplog):
    """What is logged."""
    return caplog


@pytest.mark.parametrize("degrees", ANGLES)
def test_frames_equal_the_same_video_without_a_matrix_turned(tmp_path, degrees):
    # x264's AVX-512 code gives other bytes from run to run.
    options = {"x264-params": "cpu-independent=1"}
    plain = write_video(tmp_path / "plain.mp4", NUM_FRAMES, options=options)
    matrix = rotation_matrix(degrees)
    path = write_video(tmp_path / "turned.mp4", NUM_FRAMES, options=options, display_matrix=matrix)
    expected = np.rot90(VideoReader(plain).read(range(NUM_FRAMES)).numpy(), degrees // 90, (2, 3))
    assert np.array_equal(VideoReader(path).read(range(NUM_FRAMES)).numpy(), expected)


def test_opencv_turns_the_same_way(video):
    cv2 = pytest.importorskip("cv2")
    path, frames = video
    is_read, bgr_HWC = cv2.VideoCapture(str(path)).read()
    assert is_read
    rgb_CHW = torch.from_numpy(bgr_HWC[..., ::-1].copy()).permute(2, 0, 1)
    assert rgb_CHW.shape == frames[0].shape
    assert (rgb_CHW.float() - frames[0].float()).abs().mean() < 4


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_is_turned_in_sparse_reads_as_in_whole_ones(tmp_path, name):
    path = write_video(tmp_path / name, NUM_FRAMES, **CODECS[name], display_matrix=rotation_matrix(90))
    expected = turned(path, 90)
    for wanted in ([17], [20, 3, 3], range(NUM_FRAMES)):
        assert torch.equal(VideoReader(path).read(wanted), expected[wanted])


@pytest.mark.parametrize("options", [{}, {"num_threads": 3}], ids=str)
def test_reads_one_after_the_other_are_upright(video, options):
    path, expected = video
    with VideoReader(path, **options) as reader:
        for wanted in ([19, 4], [4, 5, 19], [0], range(NUM_FRAMES)):
            assert torch.equal(reader.read(wanted), expected[wanted])
        reader.close()
        assert torch.equal(pickle.loads(pickle.dumps(reader)).read([7]), expected[[7]])


def test_packets_too_large_to_hold_are_read_upright_again(video, monkeypatch):
    path, expected = video
    monkeypatch.setattr(packet_scan, "MAX_HELD_BYTES", 1000)
    assert torch.equal(VideoReader(path).read([21, 2]), expected[[21, 2]])


def test_the_size_fits_the_frames_before_and_after_the_first_read(video):
    path, frames = video
    size = tuple(frames.shape[2:])
    reader = VideoReader(path)
    assert (reader.height, reader.width) == size
    assert reader.read([]).shape == (0, 3, *size) and reader.read([3]).shape == (1, 3, *size)


@pytest.mark.parametrize("degrees", ANGLES)
def test_scaled_frames_are_turned_after_scaling(tmp_path, degrees):
    plain = write_video(tmp_path / "plain.mp4", 6)
    path = write_video(tmp_path / "turned.mp4", 6, display_matrix=rotation_matrix(degrees))
    with VideoReader(path, short_side=36) as reader:
        frames = reader.read([4, 1])
        assert (reader.height, reader.width) == tuple(frames.shape[2:])
    expected = torch.rot90(VideoReader(plain, short_side=36).read([4, 1]), degrees // 90, (2, 3))
    assert min(frames.shape[2:]) == 36 and torch.equal(frames, expected)


def test_a_file_without_a_matrix_is_looked_at_once_and_its_frames_are_not_copied(tmp_path, monkeypatch):
    path = write_video(tmp_path / "video.mp4", NUM_FRAMES)
    looks = []
    monkeypatch.setattr(pyav, "matrix_of", lambda frame: looks.append(frame) or matrix_of(frame))
    monkeypatch.setattr(pyav, "orientation_of", None)
    with VideoReader(path) as reader:
        frames = torch.cat([reader.read([17, 2]), reader.read(range(NUM_FRAMES))])
        assert (reader.height, reader.width) == (48, 64)

    expected = sequential_frames(path)
    assert torch.equal(frames, torch.cat([expected[[17, 2]], expected]))
    assert len(looks) == 1
    pixels = expected[0].permute(1, 2, 0).numpy()
    assert upright(pixels, 0) is pixels


@pytest.mark.parametrize(
    "matrix",
    {
        "45 degrees": rotation_matrix(45),
        "mirrored": [-ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30],
        "upside down": [ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30],
        "turned and mirrored": [0, -ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30],
    }.values(),
)
def test_what_is_no_turn_by_a_right_angle_is_left_as_coded_and_reported_once(tmp_path, heard, matrix):
    path = write_video(tmp_path / "video.mp4", 6, display_matrix=matrix)
    for _ in range(2):
        assert torch.equal(VideoReader(path).read([4, 1]), sequential_frames(path)[[4, 1]])
    assert len(heard.messages) == 1
    assert heard.messages[0].startswith(f"{path}: its display matrix mirrors the frames or is not a")
    assert "it is ignored" in heard.messages[0] and "ffmpeg -i OLD NEW" in heard.messages[0]


@pytest.mark.parametrize(
    ("matrix", "quarter_turns"),
    [
        ([ONE, 0, 0, 0, ONE, 0, 5 * ONE, 7 * ONE, 1 << 30], 0),
        ([0, -2 * ONE, 0, ONE, 0, 0, 0, 64 * ONE, 1 << 30], 1),
        ([-ONE, 300, 0, -300, -ONE, 0, 0, 0, 1 << 30], 2),
        ([0] * 9, 0),
    ],
    ids=["moved", "scaled", "nearly", "zero"],
)
def test_offsets_scales_and_small_errors_do_not_matter(tmp_path, heard, matrix, quarter_turns):
    path = write_video(tmp_path / "video.mp4", 4, display_matrix=matrix)
    assert torch.equal(VideoReader(path).read([3]), turned(path, 90 * quarter_turns)[[3]])
    assert heard.messages == []


@pytest.mark.parametrize("first", [0, 5])
def test_a_display_orientation_of_keyframes_alone_is_not_followed(tmp_path, first):
    source = write_video(tmp_path / "source.mp4", NUM_FRAMES)
    path = tmp_path / "video.mp4"
    with av.open(str(source)) as container, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(container.streams.video[0])
        mark = BitStreamFilterContext(
            "h264_metadata=display_orientation=insert:rotate=90", container.streams.video[0], stream
        )
        for packet in container.demux(video=0):
            for marked in mark.filter(packet if packet.size else None):
                marked.stream = stream
                output.mux(marked)
    with av.open(str(path)) as container:
        assert {frame.rotation for frame in container.decode(video=0)} == {0, 90}
    reader = VideoReader(path)
    assert torch.equal(reader.read([first]), sequential_frames(path)[[first]])
    assert torch.equal(reader.read(range(NUM_FRAMES)), sequential_frames(path))


def test_an_angle_is_known_if_pyav_cannot_list_the_side_data(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn clockwise by 90 degrees.
    Image.fromarray(numbered_frames(1)[0]).save(tmp_path / "picture.jpg", exif=exif)
    with av.open(str(tmp_path / "picture.jpg")) as container:
        orientation, _ = orientation_of(container.decode(video=0))
    assert orientation.quarter_turns == 3


def test_looking_for_a_matrix_keeps_no_frame(tmp_path):
    path = write_video(tmp_path / "video.mp4", 2, display_matrix=rotation_matrix(90))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    num_references = sys.getrefcount(frame)
    assert matrix_of(frame) == (0, -ONE, ONE, 0)
    assert sys.getrefcount(frame) == num_references


def test_all_frames_come_back_after_a_look_at_the_first(tmp_path):
    path = write_video(tmp_path / "video.mp4", 5, display_matrix=rotation_matrix(270))
    with av.open(str(path)) as container:
        orientation, frames = orientation_of(container.decode(video=0))
        assert orientation == (3, "") and len(list(frames)) == 5
    assert orientation_of(iter(()))[0] == (0, "")


def test_turning_is_counter_clockwise_and_changes_the_sides():
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    for quarter_turns in range(4):
        result = upright(pixels, quarter_turns)
        assert np.array_equal(result, np.rot90(pixels, quarter_turns)) and result.flags.c_contiguous
        assert shown_size(2, 3, quarter_turns) == result.shape[:2]
