"""The command that combines dumps, with dumps that do not belong together."""

from dataclasses import replace

import pytest
import torch

from tsn_tsm_plugin.evaluation import Predictions, read_dump, write_dump
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


def dumped(folder, *logits):
    """Write one dump for each pair of scores of one video."""
    paths = [folder / f"{number}.pkl" for number in range(len(logits))]
    for path, scores in zip(paths, logits, strict=True):
        scores_B1K = torch.tensor([[scores]])
        member = Predictions(torch.tensor([0]), ["a.mp4"], torch.tensor([0]), scores_B1K[:, 0], scores_B1K)
        write_dump(member, path, class_names=["still", "slow"], view_average="logits")
    return [str(path) for path in paths]


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        (([10.0, 0.0], [0.0, 5.0]), [10.0 / 2.5, 7.5 / 2.5]),
        (([10.0, 0.0], [0.0, 5.0], [4.0, 0.0]), [12.0 / 2.5, 5.0 / 2.5]),
    ],
)
def test_streams_are_joined_with_the_weights_of_the_tsn_paper(tmp_path, capsys, logits, expected):
    out = tmp_path / "all.pkl"
    assert (
        ensemble.main([*dumped(tmp_path, *logits), "--coefficients", "two-stream", "--dump", str(out)]) == 0
    )
    assert read_dump(out)[0].scores.flatten().tolist() == pytest.approx(expected)
    assert ("1.pkl x 1.5" in capsys.readouterr().out) == (len(logits) == 2)


def test_the_weights_of_the_tsn_paper_are_for_two_or_three_streams(tmp_path, capsys):
    paths = dumped(tmp_path, [1.0, 0.0], [0.0, 1.0])
    assert ensemble.main([*paths[:1], "--coefficients", "two-stream"]) == 2
    assert "must stand alone, with 2 dumps (RGB, flow) or 3" in capsys.readouterr().err
    assert ensemble.main([*paths, "--coefficients", "two-stream", "2"]) == 2
    with pytest.raises(SystemExit):
        ensemble.main([*paths, "--coefficients", "1", "much"])
    assert "must be a number or two-stream, got much" in capsys.readouterr().err
