"""Unreadable videos are counted, named and bounded; an epoch without videos is an error."""

import pytest
from support.runs import tiny_cfg, write_dataset

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.errors import VideoError


@pytest.fixture
def data(tmp_path):
    return write_dataset(tmp_path / "data", num_train=8, num_val=3)


def damage(data, *names):
    for name in names:
        (data / name).write_bytes(b"this is no video")


def test_within_the_bound_bad_videos_are_skipped_and_named_once(tmp_path, data):
    damage(data, "train_1.mp4", "train_5.mp4", "val_0.mp4")
    results = engine.train(tiny_cfg(tmp_path, data=data, DATA__MAX_BAD_VIDEOS=2))
    lines = (tmp_path / "run" / "bad_videos.txt").read_text().splitlines()

    assert sorted(line.split("\t")[0].rsplit("/", 1)[1] for line in lines) == [
        "train_1.mp4", "train_5.mp4", "val_0.mp4",
    ]  # fmt: skip
    assert all(line.split("\t")[1] for line in lines)
    assert (results["num_videos"], results["num_bad_videos"]) == (2, 1)


def test_the_epoch_counts_the_clips_that_were_read(tmp_path, data):
    damage(data, "train_1.mp4")
    engine.train(tiny_cfg(tmp_path, data=data, DATA__MAX_BAD_VIDEOS=1, SOLVER__MAX_EPOCH=1))
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "7 clips in" in log


def test_one_more_than_the_bound_stops_the_run_and_names_it(tmp_path, data):
    damage(data, "train_1.mp4", "train_5.mp4")
    with pytest.raises(
        VideoError, match=r"train_[15]\.mp4.*2 unreadable videos.*MAX_BAD_VIDEOS = 1.*bad_videos\.txt"
    ):
        engine.train(tiny_cfg(tmp_path, data=data, DATA__MAX_BAD_VIDEOS=1))


def test_one_more_than_the_bound_stops_an_evaluation(tmp_path, data):
    damage(data, "val_1.mp4")
    with pytest.raises(VideoError, match=r"val_1\.mp4.*MAX_BAD_VIDEOS = 0"):
        engine.train(tiny_cfg(tmp_path, data=data))


def test_an_epoch_without_a_readable_video_is_an_error(tmp_path, data):
    damage(data, *(f"train_{i}.mp4" for i in range(8)))
    with pytest.raises(VideoError, match=r"Epoch 1 is empty"):
        engine.train(tiny_cfg(tmp_path, data=data, DATA__MAX_BAD_VIDEOS=100))


def test_an_evaluation_without_a_readable_video_is_an_error(tmp_path, data):
    damage(data, *(f"val_{i}.mp4" for i in range(3)))
    with pytest.raises(VideoError, match=r"None of the videos of split 'val' could be read"):
        engine.train(tiny_cfg(tmp_path, data=data, DATA__MAX_BAD_VIDEOS=100))
