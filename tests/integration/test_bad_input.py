"""Input that is never perfect: a bad file or list is a clear error or a correct read, and nothing hangs."""

import random
import re
from pathlib import Path

import pytest
import torch
from support.bad_input import (
    BAD_FOLDERS,
    BAD_LISTS,
    BAD_VIDEOS,
    EITHER,
    ERROR,
    NUM_FRAMES,
    ODD_LISTS,
    TOO_NARROW,
)
from support.frame_folders import write_frame_folder
from support.runs import tiny_cfg, write_dataset
from support.videos import write_video

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.data.annotations import read_video_list
from tsn_tsm_plugin.data.build import build_dataset, build_loader
from tsn_tsm_plugin.data.collate import BadVideo
from tsn_tsm_plugin.data.frame_folder import FrameFolderReader
from tsn_tsm_plugin.data.preparation.shard_writer import write_shards
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.data.samplers import SampleKey
from tsn_tsm_plugin.errors import AnnotationError, VideoError
from tsn_tsm_plugin.transforms.random_crop import MultiScaleCrop, RandomResizedCrop


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A folder with every bad video, and one with every bad folder of frames."""
    root = tmp_path_factory.mktemp("zoo")
    for kind, cases in (("videos", BAD_VIDEOS), ("frames", BAD_FOLDERS)):
        (root / kind).mkdir()
        for name, case in cases.items():
            case[0](root / kind / name)
    return root


def read_all(path: Path, *, is_folder: bool):
    reader = FrameFolderReader(path, num_frames=NUM_FRAMES) if is_folder else VideoReader(path)
    frames = reader.read(range(reader.num_frames))
    assert frames.dtype == torch.uint8
    assert frames.shape == (reader.num_frames, 3, reader.height, reader.width)
    return reader.num_frames


def assert_verdict(path: Path, verdict, *, is_folder: bool = False) -> None:
    try:
        num_read = read_all(path, is_folder=is_folder)
    except VideoError as error:
        assert verdict in (ERROR, EITHER), f"{error}"
        assert str(error).startswith(str(path))
    else:
        assert verdict in (num_read, EITHER), f"read {num_read} frames"


def test_there_are_more_than_sixty_bad_files():
    assert len(BAD_VIDEOS) + len(BAD_FOLDERS) > 80


@pytest.mark.parametrize("name", BAD_VIDEOS, ids=lambda name: ascii(name[:40]))
def test_a_bad_video_is_an_error_that_starts_with_its_path_or_a_correct_read(zoo, name):
    assert_verdict(zoo / "videos" / name, BAD_VIDEOS[name][1])


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_a_bad_folder_is_an_error_that_starts_with_its_path_or_a_correct_read(zoo, name):
    assert_verdict(zoo / "frames" / name, BAD_FOLDERS[name][1], is_folder=True)


@pytest.mark.parametrize("name", BAD_LISTS)
def test_a_bad_list_is_an_error_with_its_line(tmp_path, name):
    content, fault = BAD_LISTS[name]
    path = tmp_path / "list.txt"
    path.write_bytes(content)

    with pytest.raises(AnnotationError, match=re.escape(f"{path}") + ".*" + re.escape(fault)):
        read_video_list(path, num_classes=3)


@pytest.mark.parametrize("name", ODD_LISTS)
def test_an_odd_list_means_what_its_author_meant(tmp_path, name):
    content, expected = ODD_LISTS[name]
    path = tmp_path / "list.txt"
    path.write_bytes(content)

    assert [(entry.name, entry.label) for entry in read_video_list(path, num_classes=3)] == expected


def recipe(tmp_path: Path, root: Path, names: list[str], **overrides):
    """Return the tiny recipe, to train on videos below ``root`` and validate on three good ones."""
    data = write_dataset(tmp_path / "data", num_train=1, num_val=3)
    frames = f" {NUM_FRAMES}" if overrides.get("DATA__FORMAT") == "frames" else ""
    lines = [f"{root}/{name}{frames} {number % 3}\n" for number, name in enumerate(names)]
    (data / "train.txt").write_text("".join(lines))
    settings = {"SOLVER__MAX_EPOCH": 1, "DATA_LOADER__NUM_WORKERS": 2, "DATA__MAX_BAD_VIDEOS": len(names)}
    return tiny_cfg(tmp_path, data=data, **{**settings, **overrides})


def bad_videos_of(run: Path, root: Path) -> set[str]:
    """Return the names in the run's list of bad videos; each stands there once, with its reason."""
    lines = (run / "bad_videos.txt").read_text().splitlines()
    listed = dict(line.split("\t") for line in lines)
    assert len(listed) == len(lines)
    assert all(reason.startswith(path) for path, reason in listed.items())
    return {Path(path).relative_to(root).as_posix() for path in listed}


def test_a_training_run_lists_every_bad_video_once_with_its_reason_and_reads_the_others(tmp_path, zoo):
    names = [name for name in BAD_VIDEOS if "\0" not in name]

    results = engine.train(recipe(tmp_path, zoo / "videos", names))

    bad = bad_videos_of(tmp_path / "run", zoo / "videos")
    must = {name for name in names if BAD_VIDEOS[name][1] == ERROR or name in TOO_NARROW}
    may = {name for name in names if BAD_VIDEOS[name][1] == EITHER}
    assert must <= bad <= must | may
    assert (results["num_videos"], results["num_bad_videos"]) == (3, 0)


def test_one_bad_video_more_than_allowed_stops_the_run_by_its_name(tmp_path, zoo):
    good = ["one_frame.mp4", "two_frames.mp4", "grey.mkv", "alpha.mkv", "slow.mp4"]
    bad = ["cut_50.mp4", "empty.mp4", "pipe.mp4"]

    with pytest.raises(
        VideoError, match="That makes 3 unreadable videos in one epoch, more than DATA.MAX_BAD"
    ):
        engine.train(recipe(tmp_path, zoo / "videos", good + bad, DATA__MAX_BAD_VIDEOS=2))

    assert bad_videos_of(tmp_path / "run", zoo / "videos") == set(bad)


def test_a_training_run_on_folders_of_frames_lists_the_bad_ones(tmp_path, zoo):
    cfg = recipe(
        tmp_path,
        zoo / "frames",
        list(BAD_FOLDERS),
        DATA__FORMAT="frames",
        TRAIN__EVAL_PERIOD=0,
        DATA__NUM_FRAMES=8,
    )
    batches = list(build_loader(cfg, "train"))

    bad = {Path(video.path).name for batch in batches for video in batch["bad_videos"]}
    good = {Path(name).name for batch in batches for name in batch["video_name"]}
    assert good >= {name for name in BAD_FOLDERS if BAD_FOLDERS[name][1] == NUM_FRAMES}
    # A frame may be bad and not be among the eight that the clip wants.
    assert bad | good == set(BAD_FOLDERS)
    assert {"missing_folder", "file_in_place_of_a_folder", "dangling_folder", "empty_folder"} <= bad


def test_a_frame_smaller_than_the_test_crop_is_a_bad_video_that_reports_it(tmp_path, zoo):
    cfg = recipe(tmp_path, zoo / "videos", ["one_pixel.avi"], DATA__VAL_LIST="train.txt")

    bad = build_dataset(cfg, "val")[0]

    assert isinstance(bad, BadVideo)
    assert bad.reason.startswith(f"{zoo}/videos/one_pixel.avi: ") and "32" in bad.reason


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Cut, flip, zero or repeat a few bytes."""
    offset, length = draw.randrange(len(content)), draw.randrange(1, 100)
    kind = draw.choice(["flip", "flip", "zero", "cut", "repeat"])
    if kind == "cut":
        return content[:offset]
    if kind == "repeat":
        return content[: offset + length] + content[offset:]
    changed = bytearray(content)
    if kind == "zero":
        changed[offset : offset + length] = bytes(len(changed[offset : offset + length]))
    else:
        for _ in range(draw.choice([1, 3, 20])):
            changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def clips_or_bad_videos(dataset, num_videos: int) -> list[str]:
    """Read every video in two epochs; each is a clip of the right shape or a named bad video."""
    kinds = []
    for epoch in range(2):
        for index in range(num_videos):
            item = dataset[SampleKey(epoch, index)]
            if isinstance(item, BadVideo):
                assert item.reason.startswith(dataset.entries[index].path)
            else:
                assert item["video"].shape == (3, 2, 32, 32)
            kinds.append("bad" if isinstance(item, BadVideo) else "good")
    return kinds


def test_frames_mutated_at_random_are_clips_or_named_bad_videos(tmp_path):
    draw = random.Random(0)
    names = [f"{number}" for number in range(25)]
    for name in names:
        folder = write_frame_folder(tmp_path / "frames" / name, 2)
        for path in folder.iterdir():
            path.write_bytes(mutated(path.read_bytes(), draw))
    cfg = recipe(tmp_path, tmp_path / "frames", names, DATA__FORMAT="frames")
    (tmp_path / "data/train.txt").write_text("".join(f"{tmp_path}/frames/{name} 2 0\n" for name in names))

    kinds = clips_or_bad_videos(build_dataset(cfg, "train"), len(names))

    assert {"bad", "good"} == set(kinds)


def test_a_shard_mutated_at_random_is_an_error_or_gives_clips_and_named_bad_videos(tmp_path):
    names = [f"{number}.mp4" for number in range(4)]
    for name in names:
        write_video(tmp_path / name, NUM_FRAMES, b_frames=0)
    cfg = recipe(
        tmp_path, tmp_path, names, DATA__FORMAT="shards", DATA__TRAIN_LIST=str(tmp_path / "s/train.txt")
    )
    entries = read_video_list(tmp_path / "data/train.txt")
    write_shards(entries, tmp_path / "s", name="train")
    shard, index = tmp_path / "s/train-000000.tar", tmp_path / "s/train-000000.tar.index"
    cfg = tiny_cfg(
        tmp_path,
        data=tmp_path / "data",
        DATA__FORMAT="shards",
        DATA__TRAIN_LIST=str(tmp_path / "s/train.txt"),
        DATA__PATH_PREFIX=str(tmp_path / "s"),
    )
    whole, draw = shard.read_bytes(), random.Random(0)
    for number in range(30):
        index.unlink(missing_ok=number > 0)
        shard.write_bytes(mutated(whole, draw))
        try:
            dataset = build_dataset(cfg, "train")
        except AnnotationError as error:
            assert str(error).startswith(str(shard))
        else:
            clips_or_bad_videos(dataset, len(dataset))


def test_a_list_mutated_at_random_is_an_error_with_its_path_or_a_list(tmp_path):
    path = tmp_path / "list.txt"
    content = "".join(f"some folder/video {number}.mp4 {number % 3}\n" for number in range(20)).encode()
    draw = random.Random(0)
    for _ in range(300):
        path.write_bytes(mutated(content, draw))
        try:
            entries = read_video_list(path, num_classes=3)
        except AnnotationError as error:
            assert str(error).startswith(str(path))
        else:
            assert entries and all(entry.label in (0, 1, 2) for entry in entries)


@pytest.mark.parametrize(
    "crop", [MultiScaleCrop(8), RandomResizedCrop(8)], ids=lambda crop: type(crop).__name__
)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2)])
def test_every_draw_of_a_training_crop_finds_a_pixel_in_a_tiny_frame(crop, size):
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        _, _, height, width = crop.draw(*size, generator)
        assert 1 <= height <= size[0] and 1 <= width <= size[1]
