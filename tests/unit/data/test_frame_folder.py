"""Frame folders: JPEG images behind the interface of `VideoReader`."""

import os
import pickle
import re

import numpy as np
import pytest
import torch
from support.frame_folders import write_frame_folder
from support.videos import frame_number, numbered_frames

from tsn_tsm_plugin.data import frame_folder
from tsn_tsm_plugin.data.frame_folder import FrameFolderReader
from tsn_tsm_plugin.data.image import image_size, read_image
from tsn_tsm_plugin.errors import VideoError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_frame_folder(tmp_path_factory.mktemp("frames") / "a", 9)


@pytest.fixture
def own_folder(tmp_path):
    return write_frame_folder(tmp_path / "own", 5)


def numbers(frames_TCHW):
    return [frame_number(frame) for frame in frames_TCHW]


def test_frames_carry_the_number_they_were_asked_by_in_any_order_with_repeats(folder):
    with FrameFolderReader(folder, num_frames=9) as reader:
        frames = reader.read([8, 0, 3, 3, 0])

    assert frames.shape == (5, 3, 48, 64)
    assert frames.dtype == torch.uint8
    assert numbers(frames) == [8, 0, 3, 3, 0]


def test_the_list_has_the_number_of_frames_otherwise_the_disk_does(folder):
    assert FrameFolderReader(folder, num_frames=4).num_frames == 4
    assert FrameFolderReader(folder).num_frames == 9
    reader = FrameFolderReader(folder)
    assert (reader.height, reader.width, reader.fps) == (48, 64, 0.0)


@pytest.mark.parametrize(("template", "start_index"), [("{:06d}.jpg", 0), ("{:05}.jpg", 1), ("f{}.jpeg", 7)])
def test_the_template_and_the_start_index_name_the_files(tmp_path, template, start_index):
    folder = write_frame_folder(tmp_path / "a", 3, template=template, start_index=start_index)

    reader = FrameFolderReader(folder, num_frames=3, template=template, start_index=start_index)

    assert numbers(reader.read([0, 1, 2])) == [0, 1, 2]


def test_a_repeated_frame_is_decoded_once(folder, monkeypatch):
    decoded = []
    monkeypatch.setattr(frame_folder, "read_image", lambda data: decoded.append(1) or read_image(data))

    FrameFolderReader(folder).read([2, 2, 5, 2])

    assert len(decoded) == 2


def test_any_sequence_of_whole_numbers_is_an_index_and_none_gives_no_frame(folder):
    reader = FrameFolderReader(folder)

    assert numbers(reader.read(torch.tensor([4, 1]))) == numbers(reader.read(np.array([4, 1]))) == [4, 1]
    assert reader.read([]).shape == (0, 3, 48, 64)


@pytest.mark.parametrize("index", [-1, 9])
def test_an_index_outside_the_video_is_named_with_path_and_length(folder, index):
    with pytest.raises(
        IndexError, match=re.escape(f"{folder}: frame index must be in [0, num_frames=9), got")
    ):
        FrameFolderReader(folder).read([index])


def test_a_pickled_reader_reads_on(folder):
    assert numbers(pickle.loads(pickle.dumps(FrameFolderReader(folder))).read([6])) == [6]


@pytest.mark.parametrize("quality", [30, 95])
@pytest.mark.parametrize("sampling", ["420", "444"])
def test_pixels_equal_opencvs(tmp_path, quality, sampling):
    cv2 = pytest.importorskip("cv2")
    bgr_HWC = np.ascontiguousarray(numbered_frames(3, height=99, width=175)[2][..., ::-1])
    factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
    cv2.imwrite(str(tmp_path / "img_00001.jpg"), bgr_HWC, options)

    (frame_CHW,) = FrameFolderReader(tmp_path).read([0])

    rgb_HWC = cv2.imread(str(tmp_path / "img_00001.jpg"))[..., ::-1]
    assert np.array_equal(frame_CHW.permute(1, 2, 0).numpy(), rgb_HWC)


def test_a_missing_frame_is_named_and_only_when_it_is_wanted(own_folder):
    (own_folder / "img_00003.jpg").unlink()
    reader = FrameFolderReader(own_folder, num_frames=5)

    assert numbers(reader.read([1, 3])) == [1, 3]
    with pytest.raises(
        VideoError, match=re.escape(f"{own_folder}/img_00003.jpg: no such frame, number 3 of 5.")
    ):
        reader.read([0, 2])


def test_a_gap_ends_the_count_and_is_reported_once(own_folder, caplog):
    assert FrameFolderReader(own_folder).num_frames == 5
    assert not caplog.messages
    (own_folder / "img_00003.jpg").unlink()

    for _ in range(2):
        assert FrameFolderReader(own_folder).num_frames == 2
    (message,) = caplog.messages
    assert message.startswith(f"{own_folder}: img_00003.jpg is missing, but the next frame is there")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty"),
        (b"not an image", "is no JPEG image"),
        (b"\xff\xd8\xff\xe0", "is a damaged JPEG image without a frame header"),
    ],
)
def test_a_damaged_frame_is_named(own_folder, content, fault):
    path = own_folder / "img_00001.jpg"
    path.write_bytes(content)

    with pytest.raises(VideoError, match=re.escape(f"{path}: {fault}.")):
        FrameFolderReader(own_folder).read([0])
    with pytest.raises(VideoError, match=re.escape(f"{path}: {fault}.")):
        _ = FrameFolderReader(own_folder).height


def test_a_frame_cut_short_is_damaged_wherever_it_ends(own_folder):
    path = own_folder / "img_00001.jpg"
    whole = path.read_bytes()
    for length in range(0, len(whole), 61):
        path.write_bytes(whole[:length])
        with pytest.raises(VideoError, match=re.escape(f"{path}: ")):
            FrameFolderReader(own_folder).read([0])


def test_an_enormous_claim_is_refused_before_memory_is_asked_for(own_folder):
    path = own_folder / "img_00002.jpg"
    data = bytearray(path.read_bytes())
    offset = data.index(b"\xff\xc0") + 5
    data[offset : offset + 4] = b"\xff\xdc" * 2
    path.write_bytes(data)

    with pytest.raises(VideoError, match=re.escape(f"{path}: claims 65500x65500 pixels, so it is damaged")):
        FrameFolderReader(own_folder).read([1])


def test_frames_that_take_gigabytes_together_are_refused(own_folder, monkeypatch):
    monkeypatch.setattr("tsn_tsm_plugin.data.decoders.container.MAX_READ_BYTES", 3 * 48 * 64 * 2)
    assert len(FrameFolderReader(own_folder).read([0, 1])) == 2
    with pytest.raises(VideoError, match=re.escape(f"{own_folder}: 3 frames of 64x48 pixels take")):
        FrameFolderReader(own_folder).read([0, 1, 2])


@pytest.mark.parametrize(
    "template", ["frame.jpg", "{:999999999}.jpg", "{0.a}", "../../x_{:05}.jpg", "{}{}.jpg"]
)
def test_a_template_that_is_no_name_with_one_number_is_refused(own_folder, template):
    with pytest.raises(ValueError, match="must hold one field for a number"):
        FrameFolderReader(own_folder, template=template)


def test_a_frame_that_is_a_pipe_is_refused(own_folder):
    (own_folder / "img_00002.jpg").unlink()
    os.mkfifo(own_folder / "img_00002.jpg")
    with pytest.raises(
        VideoError, match=r"img_00002\.jpg: cannot be read \(a named pipe is not a regular file"
    ):
        FrameFolderReader(own_folder).read([1])


def test_frames_of_two_sizes_do_not_make_one_clip(own_folder):
    other = write_frame_folder(own_folder.parent / "other", 1, height=24, width=32)
    (other / "img_00001.jpg").rename(own_folder / "img_00004.jpg")

    with pytest.raises(VideoError, match=re.escape("img_00004.jpg: is 32x24, frame ")):
        FrameFolderReader(own_folder).read([0, 3])


def test_what_is_no_folder_of_frames_is_an_error_that_reports_it(own_folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, fault in (
        (tmp_path / "none", "no such folder of frames"),
        (own_folder / "img_00001.jpg", "is a file, not a folder of frames"),
        (empty, "holds no img_00001.jpg"),
    ):
        with pytest.raises(VideoError, match=re.escape(f"{path}: {fault}")):
            FrameFolderReader(path)


def test_the_size_of_an_image_is_read_past_fill_bytes_and_other_segments(own_folder):
    whole = (own_folder / "img_00001.jpg").read_bytes()
    comment = b"\xff\xfe\x00\x06\xff\xc0\xff\xc0"

    assert image_size(whole) == (48, 64)
    assert image_size(whole[:2] + comment + b"\xff\xff" + whole[2:]) == (48, 64)


def test_a_name_too_long_for_the_file_system_is_no_such_folder(tmp_path):
    with pytest.raises(VideoError, match="no such folder of frames"):
        FrameFolderReader(tmp_path / ("long" * 80))
