"""The command that combines dumps, with dumps that do not belong together."""

from dataclasses import replace

import pytest
import torch

from tsn_tsm_plugin.evaluation import Predictions, write_dump
from tsn_tsm_plugin.tools import ensemble

LOGITS = torch.tensor([[[2.0, 0.0]], [[0.0, 3.0]]])
PREDICTIONS = Predictions(
    torch.tensor([0, 1]), ["a.mp4", "b.mp4"], torch.tensor([0, 1]), LOGITS[:, 0], LOGITS
)


def combine(folder, predictions, names):
    for file, what, classes in (("one", PREDICTIONS, ["still", "slow"]), ("two", predictions, names)):
        write_dump(what, folder / f"{file}.pkl", class_names=classes, view_average="logits")
    return ensemble.main([str(folder / "one.pkl"), str(folder / "two.pkl")])


def test_dumps_that_belong_together_are_combined(tmp_path, capsys):
    assert combine(tmp_path, PREDICTIONS, ["still", "slow"]) == 0
    assert "all together, 2 videos" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "names", "message"),
    [
        ({}, ["slow", "still"], "class 0 is 'still' in {}/one.pkl and 'slow' in {}/two.pkl"),
        ({"video_name": ["a.mp4", "a.mp4"]}, ["still", "slow"], "number 2 has a.mp4 twice"),
        ({"video_name": []}, ["still", "slow"], "two.pkl: must hold at least one video"),
    ],
)
def test_dumps_that_do_not_belong_together_are_refused_in_one_line(tmp_path, capsys, changes, names, message):
    assert combine(tmp_path, replace(PREDICTIONS, **changes), names) == 2
    said = capsys.readouterr().err
    assert message.format(tmp_path, tmp_path) in said and said.count("\n") == 1
