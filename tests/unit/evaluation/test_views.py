"""Views: cut in order, averaged as each reference does."""

import pytest
import torch

from tsn_tsm_plugin.evaluation import average_views, split_views


def test_views_keep_their_frames_in_order():
    video = torch.arange(2 * 6).reshape(2, 1, 6, 1, 1)  # two videos, two views of three frames

    assert split_views(video, num_frames=3)[:, 0, :, 0, 0].tolist() == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 7, 8],
        [9, 10, 11],
    ]


def test_a_broken_view_is_refused():
    with pytest.raises(ValueError, match="must be a multiple of 4 per view, got 6"):
        split_views(torch.zeros(1, 3, 6, 2, 2), num_frames=4)


def test_logits_and_features_average_before_the_softmax_and_probabilities_after():
    logits = torch.tensor([[[4.0, 0.0], [0.0, 1.0]]])

    assert average_views(logits, how="logits").tolist() == [[2.0, 0.5]]
    assert average_views(logits, how="features").tolist() == [[2.0, 0.5]]
    expected = (torch.softmax(logits[0, 0], 0) + torch.softmax(logits[0, 1], 0)) / 2
    torch.testing.assert_close(average_views(logits, how="probabilities")[0], expected)


def test_an_unknown_average_is_refused():
    with pytest.raises(ValueError, match="features, logits, probabilities, sigmoids, got 'max'"):
        average_views(torch.zeros(1, 1, 2), how="max")
