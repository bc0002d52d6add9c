"""Shards are copied to the node's own disk before the first step, checked, and read from there."""

import io
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from support.ranks import join_from_env
from support.runs import tiny_cfg, write_dataset
from tqdm import tqdm

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.checkpoints.safetensors_file import hash_in_file
from tsn_tsm_plugin.data import stage_shards
from tsn_tsm_plugin.data.annotations import read_video_list
from tsn_tsm_plugin.data.preparation.shard_writer import write_shards
from tsn_tsm_plugin.data.stage_shards import copy_shards, with_staged_shards
from tsn_tsm_plugin.errors import ConfigError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a folder of shards of the tiny dataset."""
    files = write_dataset(tmp_path_factory.mktemp("files"))
    folder = tmp_path_factory.mktemp("shards")
    for split in ("train", "val"):
        entries = read_video_list(files / f"{split}.txt", prefix=files)
        write_shards(entries, folder, name=split, max_shard_bytes=20_000)
    shutil.copy(files / "labels.txt", folder)
    return folder


@pytest.fixture
def shards(data):
    return sorted(map(str, data.glob("*.tar")))


def copied(shards, folder):
    """Copy shards and return the number of bytes that were written anew."""
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.tar")} if folder.exists() else {}
    copy_shards(shards, folder, advance=lambda count: None)
    return sum(path.stat().st_mtime_ns != before.get(path) for path in folder.glob("*.tar"))


def test_two_ranks_train_from_the_copies_of_all_lists_and_to_the_same_weights(tmp_path, data, monkeypatch):
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "disk"))
    options = {"data": data, "DATA__FORMAT": "shards", "SOLVER__MAX_EPOCH": 1, "DATA__VAL_LIST": ""}
    options["DATA__FURTHER_TRAIN_LISTS"] = [["val.txt", ""]]
    plain = tiny_cfg(tmp_path, out="plain", **options)
    staged = tiny_cfg(tmp_path, out="staged", DATA__STAGE_TO="$NODE_DISK/shards", **options)
    join_from_env(2, lambda: engine.train(plain))
    join_from_env(2, lambda: engine.train(staged))

    copies = list((tmp_path / "disk" / "shards").glob("*.tar"))
    assert len(copies) == len(list(data.glob("*.tar")))
    one, other = (hash_in_file(Path(cfg.OUTPUT_DIR) / "weights.safetensors") for cfg in (plain, staged))
    assert one == other != ""


@pytest.mark.parametrize("is_terminal", [False, True])
def test_the_copy_is_shown_as_lines_in_a_log_and_as_a_bar_in_a_terminal(
    tmp_path, data, monkeypatch, is_terminal
):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    options = {"data": data, "DATA__FORMAT": "shards", "SOLVER__MAX_EPOCH": 1, "DATA__VAL_LIST": ""}
    cfg = tiny_cfg(tmp_path, DATA__STAGE_TO=str(tmp_path / "disk"), **options)
    engine.train(cfg)

    shown, log = sys.stderr.getvalue(), (Path(cfg.OUTPUT_DIR) / "log.txt").read_text()
    total = tqdm.format_sizeof(sum(path.stat().st_size for path in data.glob("train-*.tar")), "B")
    assert f" I runs.stage_data: stage shards: {total} of {total} (100 %)\n" in log
    assert 1 < log.count("stage shards: ") <= 20
    assert "\r" not in log
    assert ("\rstage shards:   0%|" in shown) == is_terminal
    assert ("(100 %)" in shown) != is_terminal
    assert ("\r" in shown) == is_terminal


def test_videos_are_read_from_the_copies(tmp_path, data, shards):
    copied(shards, tmp_path)
    entries = stage_shards.ShardedVideo("a", "p", 0, shards[0], 0, 1), "another entry"
    moved, other = with_staged_shards(entries, tmp_path)

    assert Path(moved.shard).parent == tmp_path
    assert Path(moved.shard).read_bytes() == Path(shards[0]).read_bytes()
    assert (moved.path, other) == ("p", "another entry")


def test_a_whole_copy_is_kept_and_a_damaged_or_unfinished_one_is_made_again(tmp_path, shards):
    assert copied(shards, tmp_path) == len(shards)
    assert copied(shards, tmp_path) == 0
    first, second, *_ = sorted(tmp_path.glob("*.tar"))
    damaged = bytearray(first.read_bytes())
    damaged[100] ^= 1
    first.write_bytes(damaged)
    second.with_name(f"{second.name}.json").unlink()
    assert copied(shards, tmp_path) == 2
    assert {path.read_bytes() for path in tmp_path.glob("*.tar")} == {Path(s).read_bytes() for s in shards}


def test_a_shard_that_was_replaced_is_copied_again(tmp_path, shards):
    source = tmp_path / "train.tar"
    shutil.copy(shards[0], source)
    copied([str(source)], tmp_path / "disk")
    shutil.copy(shards[1], source)
    assert copied([str(source)], tmp_path / "disk") == 1


def test_a_disk_without_room_is_named_before_anything_is_copied(tmp_path, shards, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 10))
    with pytest.raises(ConfigError, match=r"DATA\.STAGE_TO .* has 0\.0 GiB free, and \d+ shards need"):
        copied(shards, tmp_path)
    assert list(tmp_path.glob("*.tar")) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"DATA__FORMAT": "videos", "DATA__STAGE_TO": "/tmp"}, "DATA.STAGE_TO needs DATA.FORMAT shards"),
        ({"DATA__STAGE_TO": "$NO_SUCH_VARIABLE/a"}, "must name variables that are set"),
        ({"DATA__STAGE_TO": "/dev/null/a"}, "cannot be written"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(tmp_path, data, options, message):
    with pytest.raises(ConfigError, match=message):
        engine.train(tiny_cfg(tmp_path, data=data, **{"DATA__FORMAT": "shards", **options}))
