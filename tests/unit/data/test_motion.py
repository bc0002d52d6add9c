import hashlib
import multiprocessing
import re
from collections import Counter

import av
import numpy as np
import pytest
import torch

from tsn_tsm_plugin.data.annotations import read_label_map, read_video_list
from tsn_tsm_plugin.data.motion import dataset as motion
from tsn_tsm_plugin.data.motion.dataset import prepare_motion, write_video
from tsn_tsm_plugin.data.motion.scenes import CLASS_NAMES
from tsn_tsm_plugin.errors import RunFolderError
from tsn_tsm_plugin.tools import prepare_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return prepare_motion(tmp_path_factory.mktemp("motion") / "data", num_train=24, num_val=16)


def entries_of(folder, split):
    return read_video_list(folder / f"{split}.txt", prefix=folder, num_classes=8)


def content_of(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def decode(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_clip_backwards_decodes_to_exactly_the_frames_of_its_partner(dataset):
    clips_of_frame_set = {}
    for entry in entries_of(dataset, "val"):
        frames = decode(entry.path)
        frame_set = tuple(sorted(hashlib.sha256(frame.tobytes()).digest() for frame in frames))
        clips_of_frame_set.setdefault(frame_set, []).append((entry.label, frames))

    assert len(clips_of_frame_set) == 8
    for clips in clips_of_frame_set.values():
        (label, forwards), (partner_label, backwards) = sorted(clips, key=lambda clip: clip[0])
        assert label % 2 == 0
        assert partner_label == label + 1
        assert np.array_equal(forwards, backwards[::-1])


def test_nothing_but_the_order_of_frames_differs_between_partners(dataset):
    files = {}
    for entry in entries_of(dataset, "train"):
        with av.open(entry.path) as container:
            stream = container.streams.video[0]
            shape = (stream.width, stream.height, stream.average_rate, stream.frames)
            files.setdefault(entry.label, Counter())[shape] += 1

    for label in range(0, 8, 2):
        assert files[label] == files[label + 1]


def test_files_are_h264_of_different_sizes_rates_and_lengths(dataset):
    streams = []
    for split in ("train", "val"):
        for entry in entries_of(dataset, split):
            with av.open(entry.path) as container:
                stream = container.streams.video[0]
                assert stream.codec_context.name == "h264"
                assert stream.pix_fmt == "yuv420p"
                streams.append((stream.width, stream.height, stream.average_rate, stream.frames))
    widths, heights, rates, lengths = (set(values) for values in zip(*streams, strict=True))

    assert len(widths) > 5
    assert len(heights) > 5
    assert len(rates) > 2
    assert len(lengths) > 1
    assert all(side % 2 == 0 and 96 <= side <= 160 for side in widths | heights)
    assert all(24 <= length <= 64 for length in lengths)


def test_classes_are_balanced_and_names_do_not_show_them(dataset):
    for split, per_class in (("train", 3), ("val", 2)):
        entries = entries_of(dataset, split)
        assert Counter(entry.label for entry in entries) == dict.fromkeys(range(8), per_class)
        assert [entry.name for entry in entries] == [
            f"videos/{split}/{number:06d}.mp4" for number in range(len(entries))
        ]
    assert read_label_map(dataset / "labels.txt") == list(CLASS_NAMES)


def test_an_odd_number_of_clips_leaves_classes_one_apart_at_most(tmp_path):
    folder = prepare_motion(tmp_path / "data", num_train=5, num_val=1)

    assert sorted(entry.label for entry in entries_of(folder, "train")) == [0, 1, 2, 3, 4]


def test_training_and_validation_share_no_scene(dataset):
    content = content_of(dataset / "videos")

    assert len(set(content.values())) == len(content) == 40


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(dataset, tmp_path):
    again = prepare_motion(tmp_path / "again", num_train=24, num_val=16, num_workers=2)

    assert content_of(again) == content_of(dataset)


def test_another_seed_gives_other_videos_in_another_order(dataset, tmp_path):
    other = content_of(prepare_motion(tmp_path / "other", num_train=24, num_val=16, seed=1))
    content = content_of(dataset)

    assert other.keys() == content.keys()
    assert {name for name in content if other[name] == content[name]} == {"labels.txt"}


def test_preparing_twice_changes_nothing(tmp_path):
    folder = prepare_motion(tmp_path / "data", num_train=2, num_val=2)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    prepare_motion(folder, num_train=2, num_val=2)

    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_folder_that_holds_something_else_is_refused_and_kept(tmp_path):
    folder = prepare_motion(tmp_path / "data", num_train=2, num_val=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()

    with pytest.raises(
        ValueError, match="out_dir must be new, empty, or hold this motion dataset .*'seed': 0}"
    ):
        prepare_motion(folder, num_train=2, num_val=2, seed=1)
    with pytest.raises(ValueError, match=re.escape(f"but {tmp_path}/mine holds other files. Choose another")):
        prepare_motion(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "data").mkdir()

    assert (prepare_motion(tmp_path / "data", num_train=1, num_val=1) / "train.txt").is_file()


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(motion, "write_video", full_disk)

    with pytest.raises(RunFolderError, match="data could not be written: No space left"):
        prepare_motion(tmp_path / "data", num_train=2, num_val=2)
    assert list(tmp_path.iterdir()) == []


def prepare_four(folder):
    # A forked process must not compute on the threads of its parent: they are not there.
    torch.set_num_threads(1)
    prepare_motion(folder, num_train=4, num_val=4)


def test_two_processes_that_ask_at_once_get_one_whole_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    folder = tmp_path / "deep" / "data"
    processes = [context.Process(target=prepare_four, args=(folder,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0]
    assert [path.name for path in folder.parent.iterdir()] == ["data"]
    assert len(list(folder.rglob("*.mp4"))) == 8


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"num_train": 0}, "num_train must be at least 1, got 0"),
        ({"num_val": 0}, "num_val must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"num_workers": -1}, "num_workers must be at least 0, got -1"),
    ],
)
def test_impossible_numbers_are_refused(tmp_path, arguments, fault):
    with pytest.raises(ValueError, match=fault):
        prepare_motion(tmp_path / "data", **arguments)


def test_frames_survive_encoding_closely(tmp_path):
    gradient = np.linspace(40, 200, 96).astype(np.uint8)
    frames = np.broadcast_to(gradient[None, None, :, None], (3, 64, 96, 3))

    write_video(tmp_path / "a.mp4", frames, fps=12)

    assert np.abs(decode(tmp_path / "a.mp4").astype(int) - frames).mean() < 4


def test_the_tool_makes_the_dataset(tmp_path):
    arguments = ["motion", "--out", str(tmp_path / "data"), "--num-train", "2", "--num-val", "2"]

    assert prepare_dataset.main([*arguments, "--num-workers", "0"]) == 0
    assert content_of(tmp_path / "data") == content_of(
        prepare_motion(tmp_path / "same", num_train=2, num_val=2)
    )


def test_the_tool_answers_a_wrong_call_with_one_line_and_code_2(tmp_path, capsys):
    assert prepare_dataset.main(["motion", "--out", str(tmp_path / "data"), "--num-train", "0"]) == 2
    assert capsys.readouterr().err == "error: num_train must be at least 1, got 0.\n"
