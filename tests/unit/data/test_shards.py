"""Videos in tar shards: the same clips as from files, exactly distributed, and each damage named."""

import io
import os
import pickle
import re
import tarfile
from pathlib import Path

import pytest
import torch
from support.videos import frame_number, write_video

from tsn_tsm_plugin.config import get_cfg
from tsn_tsm_plugin.data.annotations import read_video_list
from tsn_tsm_plugin.data.build import build_dataset, build_loader
from tsn_tsm_plugin.data.preparation import shard_writer
from tsn_tsm_plugin.data.preparation.shard_writer import write_shards
from tsn_tsm_plugin.data.shards import ShardedVideoReader, read_index, read_shard_list, scan_shard
from tsn_tsm_plugin.errors import AnnotationError, VideoError
from tsn_tsm_plugin.tools.prepare_dataset import main

NUM_VIDEOS, SHARD_BYTES = 11, 15_000


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    lines = []
    for number in range(NUM_VIDEOS):
        name = f"class {number % 3}/clip.{number}.mp4"
        (folder / name).parent.mkdir(exist_ok=True)
        write_video(folder / name, 6 + number, b_frames=0)
        lines.append(f"{name} {number % 3}\n")
    (folder / "train.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def entries(files):
    return read_video_list(files / "train.txt", prefix=files)


@pytest.fixture
def shards(entries, tmp_path):
    """Several shards of few videos each, and their list."""
    return write_shards(entries, tmp_path / "shards", name="train", max_shard_bytes=SHARD_BYTES)


def make_cfg(folder, storage):
    cfg = get_cfg()
    cfg.MODEL.NUM_CLASSES = 3
    cfg.DATA.PATH_TO_DATA_DIR = str(folder)
    cfg.DATA.FORMAT = storage
    cfg.DATA.VAL_LIST = "train.txt"
    cfg.DATA.NUM_FRAMES = 4
    cfg.DATA.TRAIN_SHORT_SIDE = cfg.DATA.TEST_SHORT_SIDE = 0
    cfg.DATA.TRAIN_CROP_SIZE = 32
    cfg.DATA_LOADER.NUM_WORKERS = 0
    cfg.TRAIN.BATCH_SIZE = 4
    cfg.TEST.BATCH_SIZE = 4
    return cfg


def write_tar(path, members):
    with tarfile.open(path, "w:") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_every_video_is_in_one_shard_in_the_order_of_the_list(entries, shards):
    videos = read_shard_list(str(shards), prefix=str(shards.parent))

    assert [video.name for video in videos] == [f"class {n % 3}/clip_{n}.mp4" for n in range(NUM_VIDEOS)]
    assert [video.label for video in videos] == [entry.label for entry in entries]
    assert len({video.shard for video in videos}) > 2


def test_a_shard_is_a_tar_file_of_webdatasets_layout(shards, files):
    with tarfile.open(shards.parent / "train-000000.tar") as tar:
        names = tar.getnames()
        assert names[:2] == ["class 0/clip_0.mp4", "class 0/clip_0.cls"]
        assert tar.extractfile(names[1]).read() == b"0"
        assert tar.extractfile(names[0]).read() == (files / "class 0/clip.0.mp4").read_bytes()


def test_a_sharded_video_gives_the_frames_of_its_file(entries, shards):
    for entry, video in zip(entries, read_shard_list(str(shards), prefix=str(shards.parent)), strict=True):
        reader = ShardedVideoReader(video)
        assert reader.num_frames == 6 + entries.index(entry)
        assert [frame_number(frame) for frame in reader.read([5, 0, 5])] == [5, 0, 5]
        reader.close()


def test_a_shard_without_an_index_is_scanned_to_the_same_videos(shards):
    indexed = read_shard_list(str(shards), prefix=str(shards.parent))
    for index in shards.parent.glob("*.index"):
        index.unlink()

    assert read_shard_list(str(shards), prefix=str(shards.parent)) == indexed


def test_clips_equal_the_files_bit_by_bit(files, shards):
    from_files = list(build_loader(make_cfg(files, "videos"), "train"))
    from_shards = list(build_loader(make_cfg(shards.parent, "shards"), "train"))

    for one, other in zip(from_files, from_shards, strict=True):
        assert torch.equal(one["video"], other["video"])
        assert torch.equal(one["label"], other["label"])
        assert torch.equal(one["video_index"], other["video_index"])


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_reads_every_sharded_video_exactly_once_over_ranks_and_workers(shards, world_size):
    cfg = make_cfg(shards.parent, "shards")
    cfg.DATA_LOADER.NUM_WORKERS = 2 if world_size == 2 else 0

    read = [
        index
        for rank in range(world_size)
        for batch in build_loader(cfg, "val", world_size=world_size, rank=rank)
        for index in batch["video_index"].tolist()
    ]

    assert sorted(read) == list(range(NUM_VIDEOS))


def test_shards_resume_within_an_epoch_with_workers(shards):
    cfg = make_cfg(shards.parent, "shards")
    uninterrupted = build_loader(cfg, "train")
    uninterrupted.batch_sampler.set_epoch(4)
    cfg.DATA_LOADER.NUM_WORKERS = 2
    resumed = build_loader(cfg, "train")
    resumed.batch_sampler.set_epoch(4, start_batch=1)

    for one, other in zip(list(resumed), list(uninterrupted)[1:], strict=True):
        assert torch.equal(one["video"], other["video"])
        assert one["video_name"] == other["video_name"]


def test_a_dataset_of_shards_travels_to_spawned_workers(shards):
    dataset = build_dataset(make_cfg(shards.parent, "shards"), "val")

    assert torch.equal(pickle.loads(pickle.dumps(dataset))[3]["video"], dataset[3]["video"])


def test_several_labels_travel_in_the_shard(files, tmp_path):
    (tmp_path / "list.txt").write_text("class 0/clip.0.mp4,2,0\n")
    entries = read_video_list(tmp_path / "list.txt", prefix=files, separator=",", multi_label=True)

    shards = write_shards(entries, tmp_path / "out", name="train")

    (video,) = read_shard_list(str(shards), prefix=str(shards.parent), multi_label=True)
    assert video.label == (0, 2)
    with pytest.raises(AnnotationError, match=re.escape("clip_0.mp4: must have one label, got (0, 2)")):
        read_shard_list(str(shards), prefix=str(shards.parent))


def test_a_video_without_a_label_travels_in_the_shard_as_a_negative(files, tmp_path):
    (tmp_path / "list.txt").write_text("class 0/clip.0.mp4\n")
    entries = read_video_list(tmp_path / "list.txt", prefix=files, separator=",", multi_label=True)

    shards = write_shards(entries, tmp_path / "out", name="train")

    (video,) = read_shard_list(str(shards), prefix=str(shards.parent), multi_label=True)
    assert video.label == ()
    with pytest.raises(AnnotationError, match=re.escape("must have one label, got ()")):
        read_shard_list(str(shards), prefix=str(shards.parent))


def snapshot(folder):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def test_writing_again_changes_nothing_and_a_damaged_shard_is_written_anew(entries, shards):
    before = snapshot(shards.parent)
    write_shards(entries, shards.parent, name="train", max_shard_bytes=SHARD_BYTES)
    assert snapshot(shards.parent) == before

    damaged = shards.parent / "train-000001.tar"
    damaged.write_bytes(damaged.read_bytes()[:-5000])
    (shards.parent / "train-000002.tar.index").unlink()
    write_shards(entries, shards.parent, name="train", max_shard_bytes=SHARD_BYTES)

    after = snapshot(shards.parent)
    assert {name: content for name, (_, content) in after.items()} == {n: c for n, (_, c) in before.items()}
    assert after["train-000000.tar"] == before["train-000000.tar"]


def test_a_stopped_write_leaves_no_half_shard(entries, tmp_path, monkeypatch):
    def stop(shard):
        raise KeyboardInterrupt

    monkeypatch.setattr(shard_writer, "scan_shard", stop)
    with pytest.raises(KeyboardInterrupt):
        write_shards(entries, tmp_path, name="train")

    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_shards_and_refuses_to_overwrite_its_list(files, tmp_path, capsys):
    words = ["shards", "--list", str(files / "train.txt"), "--videos", str(files), "--out"]

    assert main([*words, str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/train.txt").read_text() == "train-000000.tar\n"
    assert main([*words, str(files)]) == 2
    assert "must not be the folder of --list" in capsys.readouterr().err


def test_two_videos_of_one_key_are_refused(files, tmp_path):
    for name in ("a.b.mp4", "a_b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.txt").write_text("a.b.mp4 0\na_b.mp4 1\n")

    with pytest.raises(AnnotationError, match="a.b.mp4 and a_b.mp4 would have one key, a_b"):
        write_shards(read_video_list(tmp_path / "list.txt", prefix=tmp_path), tmp_path, name="train")


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"a.mp4": b"x"}, "must hold videos with labels (cls files), but a.mp4 has none"),
        ({"a.cls": b"1"}, "must hold videos with labels (cls files), but it holds no video"),
        ({"a.mp4": b"x", "a.cls": b"cat"}, "a.cls: must hold a label, a number from 0, got b'cat'"),
        ({"a.mp4": b"x", "a.cls": b"-1"}, "a.cls: must hold a label, a number from 0, got b'-1'"),
        (
            {"a.mp4": b"x", "a.avi": b"x", "a.cls": b"1"},
            "must hold one video for each key, got a.mp4 and a.avi",
        ),
        ({"a.mp4": b"x", "a.cls": b"3"}, "a.mp4: label must be below the number of classes, 3, got 3"),
    ],
)
def test_a_shard_that_breaks_the_layout_is_named(tmp_path, members, fault):
    write_tar(tmp_path / "a.tar", members)
    (tmp_path / "list.txt").write_text("a.tar\n")

    with pytest.raises(AnnotationError, match=re.escape(f"{tmp_path}/a.tar") + ".*" + re.escape(fault)):
        read_shard_list(str(tmp_path / "list.txt"), prefix=str(tmp_path), num_classes=3)


def test_other_files_of_a_sample_do_not_disturb(tmp_path):
    members = {"a.json": b"{}", "a.mp4": b"xyz", "a.cls": b"1\n", "notes": b"", "b.cls": b"0", "b.webm": b"q"}
    write_tar(tmp_path / "a.tar", members)

    assert [(video.name, video.size, video.labels) for video in scan_shard(str(tmp_path / "a.tar"))] == [
        ("a.mp4", 3, (1,)),
        ("b.webm", 1, (0,)),
    ]


@pytest.mark.parametrize("damage", ["missing", "cut short", "no tar", "compressed", "folder"])
def test_a_shard_that_cannot_be_read_is_an_error_with_its_path(shards, damage):
    path = shards.parent / "train-000000.tar"
    (shards.parent / "train-000000.tar.index").unlink()
    content = path.read_bytes()
    path.unlink()
    if damage == "cut short":
        path.write_bytes(content[:4000])
    elif damage == "no tar":
        path.write_bytes(b"not a tar file" * 100)
    elif damage == "compressed":
        with tarfile.open(path, "w:gz") as tar:
            tar.add(shards)
    elif damage == "folder":
        path.mkdir()

    with pytest.raises(
        AnnotationError, match=re.escape(f"{path}: cannot be read as an uncompressed tar file")
    ):
        read_shard_list(str(shards), prefix=str(shards.parent))


def test_an_index_of_another_shard_is_not_believed(shards):
    path = shards.parent / "train-000000.tar"
    path.write_bytes((shards.parent / "train-000001.tar").read_bytes() + b"\0" * 512)

    with pytest.raises(AnnotationError, match=re.escape(f"{path}.index: is the index of a shard of")):
        read_shard_list(str(shards), prefix=str(shards.parent))


@pytest.mark.parametrize("content", ["", "[]", '{"bytes": 3}', '{"bytes": 3, "videos": [[1, 2]]}', "\0"])
def test_a_damaged_index_is_named_with_the_remedy(shards, content):
    path = shards.parent / "train-000000.tar.index"
    path.write_text(content)

    with pytest.raises(AnnotationError, match=re.escape(f"{path}: is no index") + ".*Remove it"):
        read_shard_list(str(shards), prefix=str(shards.parent))


@pytest.mark.parametrize(
    ("content", "fault"),
    [("\n", "must list at least one shard"), ("a.tar\na.tar\n", "must list each shard once")],
)
def test_a_faulty_list_of_shards_is_an_error(tmp_path, content, fault):
    (tmp_path / "list.txt").write_text(content)

    with pytest.raises(AnnotationError, match=re.escape(f"{tmp_path}/list.txt: {fault}")):
        read_shard_list(str(tmp_path / "list.txt"))


def test_a_video_damaged_within_its_shard_is_a_bad_video_named_by_shard_and_name(shards):
    cfg = make_cfg(shards.parent, "shards")
    video = build_dataset(cfg, "val").entries[1]
    with Path(video.shard).open("r+b") as file:
        file.seek(video.offset)
        file.write(b"\0" * video.size)

    bad = build_dataset(cfg, "val")[1]

    assert bad.path == video.path == f"{video.shard}/{video.name}"
    assert bad.reason.startswith(f"{video.path}: cannot be opened as a video")
    assert "/tmp" not in bad.reason.replace(video.path, "")


def test_a_shard_that_shrinks_or_vanishes_while_reading_is_reported(shards):
    video = read_shard_list(str(shards), prefix=str(shards.parent))[-1]
    end = video.offset + 10
    with Path(video.shard).open("r+b") as file:
        file.truncate(end)

    with pytest.raises(VideoError, match=re.escape(f"{video.path}: its shard is cut short: it should be at")):
        ShardedVideoReader(video)
    Path(video.shard).unlink()
    with pytest.raises(VideoError, match=re.escape(f"{video.path}: its shard cannot be read (No such file")):
        ShardedVideoReader(video)


def test_an_absurd_offset_in_an_index_is_refused_before_memory_is_asked_for(shards):
    video = read_shard_list(str(shards), prefix=str(shards.parent))[0]

    for entry in ({"size": 1 << 30}, {"offset": -5}, {"offset": 1 << 70}, {"size": -1}):
        with pytest.raises(VideoError, match="its shard is cut short"):
            ShardedVideoReader(video._replace(**entry))
    with pytest.raises(VideoError, match="its shard claims .* Keep larger videos as files"):
        ShardedVideoReader(video._replace(size=1 << 60))


def test_a_video_with_holes_in_a_shard_is_refused(tmp_path):
    member = tarfile.TarInfo("a.mp4")
    member.type, member.size = tarfile.GNUTYPE_SPARSE, 0
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"%011o\0" % (40 << 30)  # The size that the holes make up.
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(AnnotationError, match=r"must be written without --sparse, but a\.mp4 is stored with"):
        scan_shard(str(tmp_path / "a.tar"))


WRONG_INDICES = {
    "null": "null",
    "list": "[]",
    "no videos": '{"bytes": SIZE, "videos": []}',
    "videos is null": '{"bytes": SIZE, "videos": null}',
    "null offset": '{"bytes": SIZE, "videos": [["a.mp4", null, 5, [0]]]}',
    "text for a size": '{"bytes": SIZE, "videos": [["a.mp4", 0, "5", [0]]]}',
    "true for a label": '{"bytes": SIZE, "videos": [["a.mp4", 0, 5, [true]]]}',
    "null labels": '{"bytes": SIZE, "videos": [["a.mp4", 0, 5, null]]}',
    "fraction": '{"bytes": SIZE, "videos": [["a.mp4", 0.5, 5, [0]]]}',
    "number for a name": '{"bytes": SIZE, "videos": [[7, 0, 5, [0]]]}',
    "text for bytes": '{"bytes": "many", "videos": [["a.mp4", 0, 5, [0]]]}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("name", WRONG_INDICES)
def test_an_index_of_wrong_types_is_named_with_its_remedy(shards, name):
    index = shards.parent / "train-000000.tar.index"
    size = (shards.parent / "train-000000.tar").stat().st_size
    index.write_text(WRONG_INDICES[name].replace("SIZE", str(size)))
    with pytest.raises(AnnotationError, match=re.escape(f"{index}: is no index") + ".*Remove it"):
        read_index(str(shards.parent / "train-000000.tar"))


@pytest.mark.parametrize("label", [b"0_1", b"+1", "\u0661".encode(), b"-0", b"9" * 40])
def test_a_label_in_a_shard_is_plain_digits(tmp_path, label):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in (("a.mp4", b"video"), ("a.cls", label)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with pytest.raises(AnnotationError, match="must hold a label, a number from 0"):
        scan_shard(str(tmp_path / "a.tar"))


def test_a_shard_that_is_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(AnnotationError, match="a named pipe is not a regular file"):
        scan_shard(str(tmp_path / "a.tar"))
