"""Dumps come back as they were written, and never run code."""

import csv
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tsn_tsm_plugin.errors import CheckpointError, RunFolderError
from tsn_tsm_plugin.evaluation import Predictions, read_dump, write_dump

NAMES = ["still", "slow"]
PREDICTIONS = Predictions(
    torch.tensor([0, 4]),
    ["a.mp4", "b.mp4"],
    torch.tensor([1, 0]),
    torch.tensor([[0.25, 0.75], [0.5, 0.5]]),
    torch.tensor([[[0.0, 1.0], [2.0, 3.0]], [[4.0, 5.0], [6.0, 7.0]]]),
)


@pytest.mark.parametrize("suffix", [".pkl", ".json"])
def test_pickle_and_json_come_back_as_they_were(tmp_path, suffix):
    path = tmp_path / f"deep/er/dump{suffix}"
    write_dump(PREDICTIONS, path, class_names=NAMES, view_average="logits")
    predictions, names = read_dump(path)

    assert names == NAMES
    assert predictions.video_name == PREDICTIONS.video_name
    for key in ("video_index", "label", "scores", "view_logits"):
        assert torch.equal(getattr(predictions, key), getattr(PREDICTIONS, key)), key


def test_csv_has_the_average_and_every_view_of_every_video(tmp_path):
    write_dump(PREDICTIONS, tmp_path / "dump.csv", class_names=NAMES, view_average="logits")
    rows = list(csv.reader((tmp_path / "dump.csv").open()))

    assert rows[0] == ["video_index", "video_name", "label", "prediction", "view", "still", "slow"]
    assert rows[1] == ["0", "a.mp4", "1", "1", "mean", "0.25", "0.75"]
    assert [row[4] for row in rows[1:]] == ["mean", "0", "1"] * 2
    assert rows[-1][5:] == ["6.0", "7.0"]


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / "dump.pkl"
    path.write_bytes(pickle.dumps({"videos": print, "class_names": []}))

    with pytest.raises(CheckpointError, match=r"not a dump .*videos must be a list"):
        read_dump(path)


@pytest.mark.parametrize("content", ["", "{}", '{"videos": [{}], "class_names": []}'])
def test_another_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "dump.json"
    path.write_text(content)

    with pytest.raises(CheckpointError, match=r"dump\.json is not a dump of predictions"):
        read_dump(path)


@pytest.mark.parametrize(
    ("wrong", "names", "message"),
    [
        ({"video_name": []}, NAMES, "must hold at least one video, got none"),
        ({"label": torch.tensor([1, 2])}, NAMES, r"labels must be in 0 to 1, got 2 for b\.mp4"),
        ({"label": torch.tensor([-1, 0])}, NAMES, r"labels must be in 0 to 1, got -1 for a\.mp4"),
        ({"label": torch.tensor([0.5, 0.0])}, NAMES, r"a label must be the number of a class, got 0\.5"),
        ({"label": torch.tensor([[1, 0], [2, 0]])}, NAMES, "several labels must be 0 or 1"),
        ({}, ["still"], r"a score for each of 1 class names, got 2 videos with 2 number\(s\)"),
        ({}, [1, 2], r"class_names must be text, got \[1, 2\]"),
        (
            {"scores": torch.tensor([[0.5, 0.5], [0.5, float("nan")]])},
            NAMES,
            r"finite .* but b\.mp4",
        ),
        ({"view_logits": torch.zeros(2, 1, 3)}, NAMES, "a logit for each of 2 class names"),
    ],
)
def test_what_no_evaluation_writes_is_refused_with_file_rule_and_value(tmp_path, wrong, names, message):
    path = tmp_path / "dump.json"
    write_dump(replace(PREDICTIONS, **wrong), path, class_names=names, view_average="logits")

    with pytest.raises(CheckpointError, match=rf"dump\.json: .*{message}"):
        read_dump(path)


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in one of \.pkl, \.json, \.csv, got 'dump\.txt'"):
        write_dump(PREDICTIONS, tmp_path / "dump.txt", class_names=NAMES, view_average="logits")


def test_a_full_disk_is_reported_and_leaves_no_part_of_a_dump(tmp_path, monkeypatch):
    def write_half(path, content):
        path.open("wb").write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(RunFolderError, match=r"dump\.pkl could not be written: No space left on device"):
        write_dump(PREDICTIONS, tmp_path / "dump.pkl", class_names=NAMES, view_average="logits")

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"dump\.csv could not be written"):
        write_dump(PREDICTIONS, tmp_path / "file/dump.csv", class_names=NAMES, view_average="logits")
