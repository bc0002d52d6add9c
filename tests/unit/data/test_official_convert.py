"""Frames extracted from videos and videos encoded anew: what is written is whole, and what was asked for."""

import re

import av
import numpy as np
import pytest
import torch
from PIL import Image
from support.small_files import files_no_larger_than
from support.videos import (
    frame_number,
    numbered_frames,
    rotation_matrix,
    sequential_frames,
    write_video,
)

from tsn_tsm_plugin.data.decoders.pyav import PyAVDecoder
from tsn_tsm_plugin.data.frame_folder import FrameFolderReader
from tsn_tsm_plugin.data.preparation import convert
from tsn_tsm_plugin.data.preparation.convert import FrameExtraction, Resize, Transcoding
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.errors import RunFolderError, VideoError

NUM_FRAMES = 20


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("source") / "a.mp4", NUM_FRAMES, gop_size=20)


def test_extracted_frames_are_the_jpeg_images_of_the_decoded_ones(video, tmp_path):
    FrameExtraction(quality=80).write(video, tmp_path / "a", NUM_FRAMES)

    for number, frame_CHW in enumerate(sequential_frames(video), start=1):
        Image.fromarray(frame_CHW.permute(1, 2, 0).numpy()).save(tmp_path / "frame.jpg", quality=80)
        assert (tmp_path / f"a/img_{number:05}.jpg").read_bytes() == (tmp_path / "frame.jpg").read_bytes()
    reader = FrameFolderReader(tmp_path / "a")
    assert [frame_number(frame) for frame in reader.read(range(NUM_FRAMES))] == list(range(NUM_FRAMES))


def test_template_and_height_are_those_asked_for(video, tmp_path):
    extraction = FrameExtraction(resize=Resize(height=24), template="{:03}.jpg", quality=50)

    extraction.write(video, tmp_path / "a", NUM_FRAMES)

    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        f"{i:03}.jpg" for i in range(1, NUM_FRAMES + 1)
    ]
    reader = FrameFolderReader(tmp_path / "a", template="{:03}.jpg")
    assert (reader.height, reader.width) == (24, 32)


@pytest.mark.parametrize("interval", [1, 4])
def test_a_new_encoding_has_the_same_frames_and_keyframes_often_enough(video, tmp_path, interval):
    Transcoding(resize=Resize(short_side=36), keyframe_interval=interval).write(
        video, tmp_path / "a.mp4", NUM_FRAMES
    )

    with VideoReader(tmp_path / "a.mp4") as reader:
        assert (reader.height, reader.width, reader.fps) == (36, 48, 25.0)
        assert [frame_number(frame) for frame in reader.read(range(NUM_FRAMES))] == list(range(NUM_FRAMES))
    with av.open(str(tmp_path / "a.mp4")) as container:
        keyframes = [number for number, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert max(b - a for a, b in zip(keyframes, [*keyframes[1:], NUM_FRAMES], strict=True)) <= interval


def test_a_new_encoding_is_made_to_be_read_sparsely_and_reads_as_a_plain_decode(video, tmp_path):
    Transcoding().write(video, tmp_path / "a.mp4", NUM_FRAMES)

    decoder = PyAVDecoder(tmp_path / "a.mp4")
    assert decoder.is_sparse
    assert torch.equal(decoder.read([3, 17, 8]), sequential_frames(tmp_path / "a.mp4")[[3, 17, 8]])
    settings = (tmp_path / "a.mp4").read_bytes()  # x264 writes them into the stream.
    for setting in (b"cabac=0", b"deblock=0", b"b_pyramid=0", b"keyint=12 "):
        assert setting in settings


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_new_encoding_of_a_turned_video_is_upright_and_has_no_matrix(video, tmp_path, degrees):
    source = write_video(
        tmp_path / "source.mp4", NUM_FRAMES, gop_size=20, display_matrix=rotation_matrix(degrees)
    )
    resize = Resize(short_side=36)
    Transcoding(resize=resize, crf=1).write(source, tmp_path / "a.mp4", NUM_FRAMES)
    Transcoding(resize=resize, crf=1).write(video, tmp_path / "plain.mp4", NUM_FRAMES)

    frames = sequential_frames(tmp_path / "a.mp4")

    upright = torch.rot90(sequential_frames(tmp_path / "plain.mp4"), degrees // 90, (2, 3))
    assert frames.shape == upright.shape
    assert (frames.float() - upright.float()).abs().mean() < 4  # Levels; a wrong position would be tens.
    assert torch.equal(VideoReader(tmp_path / "a.mp4").read(range(NUM_FRAMES)), frames)


def test_extracted_frames_of_a_turned_video_are_upright_at_the_height_asked_for(tmp_path):
    source = write_video(tmp_path / "source.mp4", NUM_FRAMES, display_matrix=rotation_matrix(90))

    FrameExtraction(quality=95).write(source, tmp_path / "full", NUM_FRAMES)
    FrameExtraction(resize=Resize(height=32)).write(source, tmp_path / "half", NUM_FRAMES)

    frame = VideoReader(source).read([3])[0]
    Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()).save(tmp_path / "frame.jpg", quality=95)
    assert (tmp_path / "full/img_00004.jpg").read_bytes() == (tmp_path / "frame.jpg").read_bytes()
    assert Image.open(tmp_path / "half/img_00004.jpg").size == (24, 32)


def test_keyframes_of_the_source_are_not_kept(tmp_path):
    source = write_video(tmp_path / "source.mp4", NUM_FRAMES, gop_size=2, b_frames=0)

    Transcoding(keyframe_interval=16).write(source, tmp_path / "a.mp4", NUM_FRAMES)

    with av.open(str(tmp_path / "a.mp4")) as container:
        keyframes = [number for number, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert len(keyframes) == 2  # The source has 10; x264 places the second where the scene changes.


@pytest.mark.parametrize("conversion", [FrameExtraction(), Transcoding()])
def test_what_stands_in_the_place_of_the_target_is_replaced(video, tmp_path, conversion):
    target = tmp_path / "a"
    if isinstance(conversion, FrameExtraction):
        target.mkdir()
        (target / "img_00001.jpg").write_bytes(b"of another time")
    else:
        target.write_bytes(b"of another time")

    conversion.write(video, target, NUM_FRAMES)

    conversion.check(target, NUM_FRAMES)


def test_odd_sizes_and_variable_rates_keep_every_frame(tmp_path):
    frames = numbered_frames(9, height=45, width=61)
    source = write_video(
        tmp_path / "odd.mkv",
        frames,
        codec="ffv1",
        pix_fmt="bgr0",
        pts=lambda number: number * number + number,
    )

    Transcoding().write(source, tmp_path / "odd.mp4", 9)
    FrameExtraction().write(source, tmp_path / "odd", 9)

    with VideoReader(tmp_path / "odd.mp4") as reader:
        assert (reader.num_frames, reader.height, reader.width) == (9, 44, 60)
    assert torch.equal(
        torch.tensor([frame_number(f) for f in FrameFolderReader(tmp_path / "odd").read(range(9))]),
        torch.arange(9),
    )


@pytest.mark.parametrize(
    ("resize", "size", "expected"),
    [
        (Resize(), (240, 320), (240, 320)),
        (Resize(short_side=256), (480, 640), (256, 341)),
        (Resize(short_side=256), (640, 480), (341, 256)),
        (Resize(height=240), (480, 640), (240, 320)),
        (Resize(height=240), (640, 480), (240, 180)),
        (Resize(short_side=256), (240, 320), (240, 320)),
    ],
)
def test_a_resize_keeps_the_ratio_and_never_enlarges(resize, size, expected):
    assert resize.size(*size) == expected
    assert all(
        px % 2 == 0 and abs(px - e) <= 1
        for px, e in zip(resize.size(*size, multiple=2), expected, strict=True)
    )


def test_a_resize_by_two_rules_is_refused():
    with pytest.raises(ValueError, match="short_side must be 0 with a height, got 256 and 240"):
        Resize(short_side=256, height=240)


@pytest.mark.parametrize("conversion", [FrameExtraction(), Transcoding()])
def test_what_cannot_be_verified_leaves_nothing_behind(video, tmp_path, conversion):
    with pytest.raises(VideoError, match=re.escape("must hold 21 frames, holds 20")):
        conversion.write(video, tmp_path / "out" / "a", NUM_FRAMES + 1)

    assert list((tmp_path / "out").iterdir()) == []


def test_a_frame_that_a_full_disk_cuts_short_is_noticed(video, tmp_path):
    with files_no_larger_than(1000), pytest.raises(RunFolderError, match="could not be written: File too"):
        FrameExtraction().write(video, tmp_path / "out" / "a", NUM_FRAMES)


@pytest.mark.parametrize("conversion", [FrameExtraction(), Transcoding()])
def test_a_full_disk_is_one_error_that_names_the_target(video, tmp_path, conversion):
    target = tmp_path / "out" / "a"
    with files_no_larger_than(0), pytest.raises(RunFolderError, match=f"^{target} could not be written"):
        conversion.write(video, target, NUM_FRAMES)

    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("conversion", [FrameExtraction(), Transcoding()])
def test_an_interrupted_conversion_leaves_no_target_and_the_next_one_succeeds(
    video, tmp_path, conversion, monkeypatch
):
    whole_decode = convert.plain_frames

    def stopped(source):
        for number, frame in enumerate(whole_decode(source)):
            if number == 7:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr(convert, "plain_frames", stopped)
    with pytest.raises(KeyboardInterrupt):
        conversion.write(video, tmp_path / "a", NUM_FRAMES)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(convert, "plain_frames", whole_decode)
    (tmp_path / ".a.partial").mkdir()  # As a killed process leaves it.

    conversion.write(video, tmp_path / "a", NUM_FRAMES)

    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    conversion.check(tmp_path / "a", NUM_FRAMES)


def test_a_damaged_source_is_an_error_with_its_path(video, tmp_path):
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(video.read_bytes()[:-900])

    with pytest.raises(VideoError, match=re.escape(f"{damaged}: ")):
        Transcoding().write(damaged, tmp_path / "a.mp4", NUM_FRAMES)


def test_the_same_video_is_encoded_to_the_same_bytes(tmp_path):
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 256, (40, 96, 144, 3), np.uint8)
    frames = [noise[number // 8] // 2 + np.roll(noise[0], 3 * number, axis=1) // 2 for number in range(40)]
    source = write_video(tmp_path / "source.mp4", frames)
    for number in range(6):
        Transcoding().write(source, tmp_path / f"{number}.mp4", 40)
    assert len({(tmp_path / f"{number}.mp4").read_bytes() for number in range(6)}) == 1
