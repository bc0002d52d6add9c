"""Ensembles: weighted means by hand, videos matched by name."""

import math
from dataclasses import replace

import pytest
import torch

from tsn_tsm_plugin.evaluation import Predictions, combine


def member(logits, names=("a", "b"), labels=(0, 1)):
    logits_BVK = torch.tensor(logits)
    return Predictions(
        torch.arange(len(names)), list(names), torch.tensor(labels), logits_BVK.mean(1), logits_BVK
    )


ONE = member([[[2.0, 0.0]], [[0.0, 4.0]]])
TWO = member([[[0.0, 6.0], [0.0, 2.0]], [[1.0, 0.0], [1.0, 0.0]]])


def test_logits_are_averaged_over_views_and_then_by_weight():
    ensemble = combine([ONE, TWO], coefficients=[3.0, 1.0], how="logits")

    assert ensemble.scores.tolist() == [[1.5, 1.0], [0.25, 3.0]]


def test_probabilities_are_taken_of_each_view():
    ensemble = combine([ONE], coefficients=[5.0], how="probabilities")

    torch.testing.assert_close(ensemble.scores, torch.softmax(ONE.view_logits[:, 0].double(), 1))


def test_videos_are_matched_by_name():
    swapped = member([[[0.0, 4.0]], [[2.0, 0.0]]], names=("b", "a"), labels=(1, 0))

    assert torch.equal(combine([ONE, swapped], coefficients=[1, 1], how="logits").scores, ONE.scores.double())


@pytest.mark.parametrize("how", ["logits", "probabilities"])
def test_an_ensemble_can_be_a_member_of_another(how):
    both = combine([ONE, TWO], coefficients=[2, 1], how=how)

    torch.testing.assert_close(combine([both], coefficients=[1], how=how).scores, both.scores)


def several_labels(member):
    return replace(member, label=torch.tensor([[1.0, 1.0], [0.0, 1.0]]))


def test_videos_with_several_labels_are_averaged_as_sigmoids():
    both = combine([several_labels(ONE), several_labels(ONE)], coefficients=[1, 3], how="sigmoids")

    torch.testing.assert_close(both.scores, torch.sigmoid(ONE.view_logits[:, 0].double()))
    torch.testing.assert_close(combine([both], coefficients=[1], how="sigmoids").scores, both.scores)
    with pytest.raises(ValueError, match="got 'probabilities' for videos with several labels"):
        combine([several_labels(ONE)], coefficients=[1], how="probabilities")


CLIP = [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("other", "coefficients", "message"),
    [
        (member([CLIP, CLIP], names="ac"), [1, 1], r"lacks 1 of the first's and has 1 others \(b, c\)"),
        (member([CLIP, CLIP], labels=(1, 1)), [1, 1], "labels; dump 2 differs"),
        (member([[[0.0, 1.0, 2.0]]] * 2), [1, 1], "the first has 2, number 2 has 3"),
        (member([CLIP] * 3, names="aba", labels=(0, 1, 0)), [1, 1], "once: number 2 has a twice"),
        (TWO, [1], "one coefficient for each of 2 dumps, got 1"),
        (TWO, [1, -1], "add up to more than 0"),
        (TWO, [1, math.nan], "add up to more than 0"),
    ],
)
def test_members_that_do_not_fit_are_refused(other, coefficients, message):
    with pytest.raises(ValueError, match=message):
        combine([ONE, other], coefficients=coefficients, how="logits")


def test_a_first_member_with_one_video_twice_is_refused():
    with pytest.raises(ValueError, match="number 1 has a twice"):
        combine([member([CLIP, CLIP], names="aa")], coefficients=[1], how="logits")
