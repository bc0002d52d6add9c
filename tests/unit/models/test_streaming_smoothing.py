import pytest
import torch

from tsn_tsm_plugin.models.streaming.smoothing import Hysteresis, MeanOfLastFrames


def top(*labels: int) -> torch.Tensor:
    """One-hot scores (B, 3) whose top is the label of each stream."""
    return torch.eye(3)[list(labels)]


def test_the_mean_covers_the_last_frames_only():
    mean = MeanOfLastFrames(2)
    outputs = [mean(torch.tensor([[value]])).item() for value in (1.0, 3.0, 5.0, 7.0)]
    assert outputs == [1.0, 2.0, 4.0, 6.0]


def test_a_stream_that_was_reset_averages_its_own_new_frames_only():
    mean = MeanOfLastFrames(3)
    mean(torch.tensor([[1.0], [1.0]]))
    mean.reset(torch.tensor([True, False]))
    assert mean(torch.tensor([[5.0], [5.0]])).flatten().tolist() == [5.0, 3.0]


def test_the_mean_of_one_frame_is_the_frame():
    mean = MeanOfLastFrames(1)
    assert [mean(torch.tensor([[value]])).item() for value in (1.0, 3.0)] == [1.0, 3.0]


def test_a_label_changes_after_the_new_one_was_on_top_often_enough_in_a_row():
    hysteresis = Hysteresis(2)
    labels = [hysteresis(top(label)).item() for label in (0, 1, 0, 1, 1, 2, 2)]
    assert labels == [0, 0, 0, 0, 1, 1, 2]


def test_the_first_frame_after_a_reset_decides_at_once():
    hysteresis = Hysteresis(3)
    hysteresis(top(0, 0))
    hysteresis.reset(torch.tensor([True, False]))
    assert hysteresis(top(2, 2)).tolist() == [2, 0]


def test_without_hysteresis_the_label_follows_every_frame():
    hysteresis = Hysteresis(1)
    assert [hysteresis(top(label)).item() for label in (0, 1, 0, 2)] == [0, 1, 0, 2]


@pytest.mark.parametrize("kind", [MeanOfLastFrames, Hysteresis])
def test_less_than_one_frame_is_refused(kind):
    with pytest.raises(ValueError, match="num_frames must be at least 1, got 0"):
        kind(0)
