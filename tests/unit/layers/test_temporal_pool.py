import pytest
import torch
from torch import nn

from tsn_tsm_plugin.layers import TemporalPool
from tsn_tsm_plugin.layers.temporal_pool import num_pooled_frames


def test_every_second_frame_shows_the_maximum_of_its_neighbourhood():
    frames = torch.tensor([5.0, 1.0, 2.0, 9.0, 3.0, 4.0]).reshape(6, 1, 1, 1)

    pooled = TemporalPool(nn.Identity(), num_segments=6)(frames)

    assert pooled.flatten().tolist() == [5.0, 9.0, 9.0]  # around frames 0, 2 and 4


@pytest.mark.parametrize("num_segments", [2, 3, 7, 8, 16])
def test_half_of_the_frames_remain_rounded_up_for_each_video(num_segments):
    pooled = TemporalPool(nn.Identity(), num_segments=num_segments)(torch.randn(2 * num_segments, 3, 2, 2))

    assert pooled.shape[0] == 2 * num_pooled_frames(num_segments) == 2 * ((num_segments + 1) // 2)


def test_one_frame_cannot_be_halved():
    with pytest.raises(ValueError, match="num_segments must be at least 2 to be halved, got 1"):
        TemporalPool(nn.Identity(), num_segments=1)
