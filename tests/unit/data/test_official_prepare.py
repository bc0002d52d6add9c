"""Whole preparations of tiny datasets: lists, labels, recipe lines, report; stopped, resumed and repeated."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from support.official_files import (
    KINETICS,
    STHV2_LABELS,
    sthv2_item,
    write_clips,
    write_files,
    write_jester,
    write_sthv2,
)
from support.videos import write_video

from tsn_tsm_plugin.config import load_cfg
from tsn_tsm_plugin.data.annotations import label_map_hash
from tsn_tsm_plugin.data.build import build_dataset, read_class_names
from tsn_tsm_plugin.data.preparation import prepare as prepare_module
from tsn_tsm_plugin.data.preparation import verify_videos as verify_videos_module
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.tools.prepare_dataset import main

LEFT, RIGHT, CAMERA = (
    "Pulling [something] from left to right",
    "Pulling [something] from right to left",
    "Approaching [something] with your camera",
)


@pytest.fixture(scope="module")
def sthv2_sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sthv2")
    write_sthv2(
        folder / "labels",
        train=[sthv2_item(1, LEFT), sthv2_item(2, RIGHT), sthv2_item(3, CAMERA), sthv2_item(4, CAMERA)],
        val=[sthv2_item(5, LEFT), sthv2_item(6, RIGHT)],
    )
    write_clips(folder / "videos", {"1.webm": 9, "2.webm": 8, "4.webm": 7, "5.webm": 6})
    (folder / "videos/6.webm").write_bytes(b"not a video")
    return folder


@pytest.fixture
def sthv2(sthv2_sources, tmp_path):
    return shutil.copytree(sthv2_sources, tmp_path / "sthv2")


def run(name, *words):
    return main([name, *map(str, words), "--num-workers", "0"])


def prepare_sthv2(folder, *words, out="data"):
    arguments = ("--annotations", folder / "labels", "--videos", folder / "videos", "--out", folder / out)
    assert run("sthv2", *arguments, *words) == 0
    return folder / out


def snapshot(folder):
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_lists_hold_the_readable_videos_and_the_report_the_others(sthv2, capsys):
    out = prepare_sthv2(sthv2)

    assert (out / "train.txt").read_text() == "1.webm 1\n2.webm 2\n4.webm 0\n"
    assert (out / "val.txt").read_text() == "5.webm 1\n"
    assert (out / "labels.txt").read_text().splitlines() == list(STHV2_LABELS)
    report = json.loads((out / "report.json").read_text())
    assert report["label_map_hash"] == label_map_hash(list(STHV2_LABELS))
    assert report["flip_label_pairs"] == [[1, 2], [4, 5]]
    assert report["untrained_classes"] == list(STHV2_LABELS)[3:]
    assert f"3 classes have no readable training video: {list(STHV2_LABELS)[3]}" in capsys.readouterr().err
    train = {"annotated": 4, "readable": 3, "decoded_from_start": 3, "missing": ["3"], "unreadable": {}}
    assert report["splits"]["train"] == train
    (reason,) = report["splits"]["val"]["unreadable"].values()
    assert reason.startswith(f"{sthv2}/videos/6.webm: cannot be opened as a video")


def test_what_a_recipe_sets_reads_the_dataset(sthv2, tmp_path):
    out = prepare_sthv2(sthv2)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text((out / "dataset.yaml").read_text())

    cfg = load_cfg(recipe, ["DATA.TEST_SHORT_SIDE=0", "DATA.TRAIN_CROP_SIZE=32"])

    assert cfg.MODEL.NUM_CLASSES == 6
    assert cfg.DATA.DATASET == "sthv2"
    assert cfg.DATA.FLIP_LABEL_PAIRS == ((1, 2), (4, 5))
    assert read_class_names(cfg) == list(STHV2_LABELS)
    clip = build_dataset(cfg, "val")[0]
    assert (clip["label"], clip["video"].shape) == (1, (3, 8, 32, 32))


def test_running_it_again_changes_nothing_and_looks_at_no_video(sthv2, monkeypatch):
    before = snapshot(prepare_sthv2(sthv2))
    monkeypatch.setattr(verify_videos_module, "VideoReader", None)

    assert snapshot(prepare_sthv2(sthv2)) == before


def test_a_stopped_run_goes_on_where_it_stopped(sthv2, monkeypatch):
    looked_at = []

    def noted(source):
        looked_at.append(source.name)
        return VideoReader(source)

    def stop_at_the_third(source):
        if len(looked_at) == 2:
            raise KeyboardInterrupt
        return noted(source)

    monkeypatch.setattr(verify_videos_module, "VideoReader", stop_at_the_third)
    arguments = ("--annotations", sthv2 / "labels", "--videos", sthv2 / "videos", "--out", sthv2 / "data")
    assert run("sthv2", *arguments) == 130
    with (sthv2 / "data/checked.jsonl").open("a") as journal:
        journal.write('{"name": "4.webm", "sta')  # A kill in the middle of a line.
    monkeypatch.setattr(verify_videos_module, "VideoReader", noted)

    out = prepare_sthv2(sthv2)

    assert looked_at == ["1.webm", "2.webm", "4.webm", "5.webm", "6.webm"]
    assert (out / "train.txt").read_text() == "1.webm 1\n2.webm 2\n4.webm 0\n"
    assert snapshot(prepare_sthv2(sthv2)) == snapshot(out)


def test_a_repaired_video_is_read_again(sthv2):
    prepare_sthv2(sthv2)
    shutil.copy(sthv2 / "videos/5.webm", sthv2 / "videos/6.webm")
    shutil.copy(sthv2 / "videos/5.webm", sthv2 / "videos/3.webm")

    out = prepare_sthv2(sthv2)

    assert (out / "val.txt").read_text() == "5.webm 1\n6.webm 2\n"
    assert "3.webm 0" in (out / "train.txt").read_text()


def test_workers_find_what_one_process_finds(sthv2):
    alone = prepare_sthv2(sthv2)
    arguments = ("--annotations", sthv2 / "labels", "--videos", sthv2 / "videos", "--out", sthv2 / "shared")

    assert main(["sthv2", *map(str, arguments), "--num-workers", "2"]) == 0

    for name in ("train.txt", "val.txt", "labels.txt", "report.json"):
        assert (sthv2 / "shared" / name).read_text() == (alone / name).read_text()


def test_extraction_writes_lists_of_frames_and_is_not_done_twice(sthv2, monkeypatch):
    words = ("--convert", "frames", "--short-side", "32", "--quality", "80", "--template", "{:04}.jpg")
    out = prepare_sthv2(sthv2, *words)

    assert (out / "train.txt").read_text() == "1 9 1\n2 8 2\n4 7 0\n"
    assert sorted(path.name for path in (out / "frames").iterdir()) == ["1", "2", "4", "5"]
    data = yaml.safe_load((out / "dataset.yaml").read_text())["DATA"]
    assert (data["FORMAT"], data["PATH_PREFIX"], data["FRAME_TEMPLATE"]) == ("frames", "frames", "{:04}.jpg")
    before = snapshot(out)
    monkeypatch.setattr(verify_videos_module, "VideoReader", None)
    assert snapshot(prepare_sthv2(sthv2, *words)) == before


def test_an_extracted_folder_that_was_deleted_is_written_again(sthv2):
    out = prepare_sthv2(sthv2, "--convert", "frames")
    before = (out / "frames/2/img_00003.jpg").read_bytes()
    shutil.rmtree(out / "frames/2")

    prepare_sthv2(sthv2, "--convert", "frames")

    assert (out / "frames/2/img_00003.jpg").read_bytes() == before


def test_encoding_anew_writes_mp4_files_below_out(sthv2):
    out = prepare_sthv2(sthv2, "--convert", "videos", "--short-side", "32", "--keyframe-interval", "2")

    assert (out / "train.txt").read_text() == "1.mp4 1\n2.mp4 2\n4.mp4 0\n"
    assert sorted(path.name for path in (out / "videos").iterdir()) == ["1.mp4", "2.mp4", "4.mp4", "5.mp4"]


def test_other_settings_write_converted_videos_anew(sthv2):
    prepare_sthv2(sthv2, "--transcode", "--short-side", "32")

    out = prepare_sthv2(sthv2, "--transcode", "--short-side", "24")

    with VideoReader(out / "videos/1.mp4") as reader:
        assert reader.height == 24


def test_writing_among_the_source_videos_is_refused(sthv2, capsys):
    arguments = ("--annotations", sthv2 / "labels", "--videos", sthv2 / "videos", "--out", sthv2)

    assert run("sthv2", *arguments, "--convert", "videos") == 2
    assert "written and source videos would mix" in capsys.readouterr().err


def test_frames_as_distributed_are_listed_with_their_number_and_a_gap_is_reported(tmp_path):
    write_jester(tmp_path, train="10;Swiping Left\n11;No gesture\n12;No gesture\n", val="13;Swiping Right\n")
    write_clips(tmp_path / "frames", {"10": 5, "11": 6, "12": 4, "13": 3})
    (tmp_path / "frames/12/00002.jpg").unlink()

    assert run("jester", "--annotations", tmp_path, "--videos", tmp_path / "frames", "--out", tmp_path) == 0

    assert (tmp_path / "train.txt").read_text() == "10 5 0\n11 6 5\n"
    assert (tmp_path / "val.txt").read_text() == "13 3 1\n"
    report = json.loads((tmp_path / "report.json").read_text())
    assert "12/00002.jpg: a gap" in report["splits"]["train"]["unreadable"]["12"]
    recipe = (tmp_path / "dataset.yaml").read_text()
    assert "It also exchanges Turning Hand Clockwise / Turning Hand Counterclockwise ([3, 4])" in recipe
    data = yaml.safe_load(recipe)["DATA"]
    assert (data["PATH_PREFIX"], data["FRAME_TEMPLATE"], data["FRAME_START_INDEX"]) == (
        "frames",
        "{:05}.jpg",
        1,
    )


def test_kinetics_is_found_in_folders_of_classes_or_of_splits(tmp_path):
    write_files(tmp_path / "csv", {"train.csv": KINETICS.format(split="train")})
    names = ["testifying/---QUuC4vJs_000084_000094.mp4", "air drumming/-0_3bxe_EmA_000003_000013.mp4"]
    write_clips(tmp_path / "train", dict.fromkeys(names, 5))

    arguments = ("--annotations", tmp_path / "csv", "--videos", tmp_path / "train", "--out", tmp_path / "out")
    assert run("kinetics400", *arguments) == 0

    assert (tmp_path / "out/train.txt").read_text().splitlines() == [f"{names[0]} 2", f"{names[1]} 0"]
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["splits"]["train"]["missing"] == ["-1q7jA3DXQM_000150_000160"]


@pytest.mark.parametrize(
    ("name", "files", "video"),
    [
        (
            "ucf101",
            {
                "classInd.txt": "1 Run\n2 Sit\n",
                "trainlist02.txt": "Sit/v_a.avi 2\n",
                "testlist02.txt": "",
            },
            "Sit/v_a.mp4",
        ),
        ("hmdb51", {"run_test_split2.txt": "", "sit_test_split2.txt": "v_a.avi 1\n"}, "sit/v_a.mp4"),
    ],
)
def test_a_numbered_split_is_chosen_and_another_suffix_does_not_matter(tmp_path, name, files, video):
    write_files(tmp_path / "splits", files)
    write_clips(tmp_path / "videos", {video: 4})

    arguments = ("--annotations", tmp_path / "splits", "--videos", tmp_path / "videos", "--out", tmp_path)
    assert run(name, *arguments, "--split", "2") == 0

    assert (tmp_path / "train.txt").read_text() == f"{video} 1\n"


def test_diving48_is_prepared(tmp_path):
    write_files(
        tmp_path,
        {
            "Diving48_vocab.json": [["Back", "15som"], ["Front", "25som"]],
            "Diving48_V2_train.json": [{"vid_name": "x_00001", "label": 1, "start_frame": 0, "end_frame": 3}],
            "Diving48_V2_test.json": [{"vid_name": "x_00002", "label": 0, "start_frame": 0, "end_frame": 3}],
        },
    )
    write_clips(tmp_path / "rgb", {"x_00001.mp4": 4, "x_00002.mp4": 4})

    assert run("diving48", "--annotations", tmp_path, "--videos", tmp_path / "rgb", "--out", tmp_path) == 0

    assert (tmp_path / "val.txt").read_text() == "x_00002.mp4 0\n"
    assert (tmp_path / "labels.txt").read_text() == "Back 15som\nFront 25som\n"


def test_a_plain_folder_of_classes_needs_no_annotations(tmp_path):
    videos = tmp_path / "jester"
    write_clips(videos, {"train/run/a b.mp4": 4, "train/sit/c.mp4": 4, "val/run/d.mp4": 4})

    assert run("folder", "--videos", videos, "--out", tmp_path / "out") == 0

    # A folder of any name may hold other classes.
    assert yaml.safe_load((tmp_path / "out/dataset.yaml").read_text())["DATA"]["DATASET"] == ""

    assert (tmp_path / "out/train.txt").read_text() == "train/run/a b.mp4 0\ntrain/sit/c.mp4 1\n"
    assert (tmp_path / "out/val.txt").read_text() == "val/run/d.mp4 0\n"


def test_no_readable_video_at_all_is_an_error(sthv2, capsys):
    empty = sthv2 / "empty"
    empty.mkdir()
    for folder, fault in (
        (empty, "must hold the annotated videos, for example 1"),
        (sthv2 / "none", "no such folder"),
    ):
        arguments = ("--annotations", sthv2 / "labels", "--videos", folder, "--out", sthv2 / "data")
        assert run("sthv2", *arguments) == 2
        assert f"error: {folder}: {fault}" in capsys.readouterr().err


def test_a_written_file_appears_whole_and_an_equal_one_is_left_alone(tmp_path):
    path = tmp_path / "a.txt"
    prepare_module.write_if_changed(path, "one\n")
    before = path.stat().st_mtime_ns
    prepare_module.write_if_changed(path, "one\n")

    assert path.stat().st_mtime_ns == before
    prepare_module.write_if_changed(path, "two\n")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "two\n")]


def test_what_systems_leave_in_folders_is_neither_class_nor_video(tmp_path):
    write_clips(tmp_path / "videos", {"clap/1.mp4": 5, "clap/2.mp4": 5, "jump/1.mp4": 5, "jump/2.mp4": 5})
    for name in ("__MACOSX/clap/._1.mp4", "@eaDir/clap/1.mp4", "clap/._1.mp4", "clap/.3.mp4", ".git/x.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).write_bytes(b"\0\5\26\7")

    assert run("folder", "--videos", tmp_path / "videos", "--out", tmp_path / "data") == 0

    assert (tmp_path / "data/labels.txt").read_text() == "clap\njump\n"
    report = json.loads((tmp_path / "data/report.json").read_text())
    assert {split: part["annotated"] for split, part in report["splits"].items()} == {"train": 2, "val": 2}
    assert not any(part["unreadable"] for part in report["splits"].values())


def test_a_video_that_cannot_even_be_looked_at_is_reported_and_the_others_are_prepared(tmp_path):
    videos = tmp_path / "videos"
    write_clips(videos, {f"clap/{number}.mp4": 5 for number in range(3)})
    (videos / "clap/dangling.mp4").symlink_to(videos / "gone.mp4")
    os.mkfifo(videos / "clap/pipe.mp4")
    (videos / "clap/list.mp4").write_text("ffconcat version 1.0\nfile 1.mp4\n")
    shutil.copy(videos / "clap/1.mp4", Path(os.fsdecode(bytes(videos / "clap") + b"/b\xffd.mp4")))
    shutil.copy(videos / "clap/1.mp4", videos / "clap/new\nline.mp4")
    write_video(videos / "clap/colours.mp4", 4, options={"x264-params": "colormatrix=YCgCo"})

    assert run("folder", "--videos", videos, "--out", tmp_path / "data", "--val-fraction", "0") == 0

    (unreadable,) = (part["unreadable"] for part in report_of(tmp_path).values() if part["annotated"])
    reasons = {
        "dangling": "is a link to",
        "pipe": "a named pipe is not a regular file",
        "list": "cannot be opened as a video",
        "b": "its name must be one line of UTF-8",
        "new": "its name must be one line of UTF-8",
        "colours": "does not know its colours",
    }
    assert len(unreadable) == len(reasons)
    for start, reason in reasons.items():
        assert any(name.startswith(f"clap/{start}") and reason in text for name, text in unreadable.items())
    assert len((tmp_path / "data/train.txt").read_text().splitlines()) == 3


@pytest.mark.parametrize("name", [b"\xff", b"two\nlines", b"back\rspace", b" lead", "\u2028".encode()])
def test_a_class_whose_name_fits_in_no_line_is_refused(tmp_path, capsys, name):
    write_clips(tmp_path / "videos", {f"{kind}/{n}.mp4": 5 for kind in ("clap", "jump") for n in (1, 2)})
    (tmp_path / "videos/jump").rename(os.fsdecode(bytes(tmp_path / "videos") + b"/" + name))

    assert run("folder", "--videos", tmp_path / "videos", "--out", tmp_path / "data") == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert "its name must be one line of UTF-8" in line
    assert not (tmp_path / "data").exists()


def report_of(folder):
    return json.loads((folder / "data/report.json").read_text())["splits"]


def test_the_journal_names_which_videos_are_read_sparsely(tmp_path):
    write_clips(tmp_path / "videos", {"clap/1.mp4": 20, "clap/2.webm": 20})
    run("folder", "--videos", tmp_path / "videos", "--out", tmp_path / "data", "--val-fraction", "0")

    lines = (tmp_path / "data/checked.jsonl").read_text().splitlines()
    assert {line["name"]: line["is_sparse"] for line in map(json.loads, lines)} == {
        "clap/1.mp4": True,
        "clap/2.webm": False,
    }
    assert report_of(tmp_path)["train"]["decoded_from_start"] == 1
