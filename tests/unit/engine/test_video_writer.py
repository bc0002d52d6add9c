import os
import re

import numpy as np
import pytest
from support.small_files import files_no_larger_than
from support.videos import numbered_frames, sequential_frames, write_video

from tsn_tsm_plugin.data.video_files import is_video
from tsn_tsm_plugin.errors import ConfigError, RunFolderError
from tsn_tsm_plugin.visualization.annotate_video import ScoreTimeline, annotate_video
from tsn_tsm_plugin.visualization.video_writer import VideoWriter, check_video_name

COURSE = ScoreTimeline(np.array([2.0, 6.0]), np.array([[0.9, 0.1], [0.2, 0.8]]))


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (96, 128, 3), dtype=np.uint8)


def annotate(video, out):
    return annotate_video(str(video), COURSE, out, names=["a", "b"], fps=25.0, num_frames=9)


def test_odd_sides_lose_their_last_row_and_column(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=5) as writer:
        writer.write(np.zeros((33, 49, 3), np.uint8))
    assert sequential_frames(tmp_path / "a.mp4").shape == (1, 3, 32, 48)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "avi", "ts", "MP4", "wmv", "flv", "mpg", "3gp"])
def test_a_container_of_h264_gets_the_frames(tmp_path, suffix):
    out = tmp_path / f"a.{suffix}"
    check_video_name(out)
    with VideoWriter(out, fps=25) as writer:
        for frame in numbered_frames(3):
            writer.write(frame)
    assert len(sequential_frames(out)) == 3


@pytest.mark.parametrize("name", ["a.webm", "a.gif", "a.png", "a.txt", "a", "a.json"])
def test_a_name_of_no_container_of_h264_is_refused_with_those_that_are(tmp_path, name):
    for refuse in (check_video_name, lambda path: VideoWriter(path, fps=5)):
        with pytest.raises(ConfigError, match=rf"{name}: the video is written as H.264.*\.mkv.*OUT.mp4"):
            refuse(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_every_suffix_that_is_written_is_read_as_a_video():
    with pytest.raises(ConfigError) as error:
        check_video_name("a.txt")
    written = set(re.findall(r"\.\w+", str(error.value))) - {".txt", ".264"}
    assert len(written) > 10
    assert [suffix for suffix in sorted(written) if not is_video(f"a{suffix}")] == []


def test_a_folder_that_is_not_there_is_reported_before_the_first_frame(tmp_path):
    with pytest.raises(RunFolderError, match="none/a.mp4 could not be written: No such file or directory"):
        VideoWriter(tmp_path / "none" / "a.mp4", fps=5)


def test_the_file_appears_at_the_end_of_the_block(tmp_path):
    out = tmp_path / "a.mp4"
    with VideoWriter(out, fps=5) as writer:
        writer.write(noise())
        [unfinished] = tmp_path.iterdir()
        assert unfinished.name == f".a.{os.getpid()}.unfinished.mp4"
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert len(sequential_frames(out)) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_what_breaks_off_leaves_the_old_file_and_no_other(tmp_path, error):
    out = tmp_path / "keep.mp4"
    out.write_bytes(b"old")
    with pytest.raises(error), VideoWriter(out, fps=5) as writer:
        for seed in range(60):
            writer.write(noise(seed))
        raise error
    assert out.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_without_a_frame_the_old_file_stays(tmp_path):
    out = tmp_path / "keep.mp4"
    out.write_bytes(b"old")
    with VideoWriter(out, fps=5):
        pass
    assert out.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("num_frames", [4, 120], ids=["at the end", "on the way"])
def test_a_full_disk_leaves_the_old_file_and_is_reported(tmp_path, num_frames):
    out = tmp_path / "keep.mp4"
    out.write_bytes(b"old")
    with (
        pytest.raises(RunFolderError, match="keep.mp4 could not be written: File too large.*another folder"),
        files_no_larger_than(20_000),
        VideoWriter(out, fps=5) as writer,
    ):
        for seed in range(num_frames):
            writer.write(noise(seed))
    assert out.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_annotating_that_breaks_off_leaves_the_old_file_and_no_other(tmp_path):
    video, out = write_video(tmp_path / "in.mp4", 9), tmp_path / "keep.mp4"
    out.write_bytes(b"old")
    frames = annotate(video, out)
    assert next(frames) == 0
    frames.close()
    assert out.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("kind", ["itself", "symbolic link", "hard link", "spelling"])
def test_a_video_is_not_annotated_over_itself(tmp_path, kind):
    video, out = write_video(tmp_path / "in.mp4", 9), tmp_path / "out.mp4"
    content = video.read_bytes()
    if kind == "symbolic link":
        out.symlink_to(video)
    elif kind == "hard link":
        out.hardlink_to(video)
    else:
        out = video if kind == "itself" else tmp_path / ".." / tmp_path.name / "in.mp4"
    with pytest.raises(ConfigError, match=f"{out.name} is the input: give another name"):
        next(annotate(video, out))
    assert video.read_bytes() == content
