import pytest
import torch

from tsn_tsm_plugin.transforms import Normalize, RandomHorizontalFlip

CLIP = torch.arange(24, dtype=torch.uint8).view(1, 2, 3, 4)


def test_a_flip_mirrors_every_frame_and_swaps_the_paired_label():
    video, label = RandomHorizontalFlip(1.0, label_pairs=[(2, 4)])(CLIP, 4)
    assert torch.equal(video, CLIP.flip(-1))
    assert label == 2


def test_a_label_outside_the_pairs_stays():
    assert RandomHorizontalFlip(1.0, label_pairs=[(2, 4)])(CLIP, 3)[1] == 3


def test_without_a_flip_neither_pixels_nor_label_change():
    video, label = RandomHorizontalFlip(0.0, label_pairs=[(2, 4)])(CLIP, 4)
    assert torch.equal(video, CLIP)
    assert label == 4


def test_half_of_the_clips_are_flipped():
    flip, generator = RandomHorizontalFlip(), torch.Generator().manual_seed(0)
    flipped = sum(not torch.equal(flip(CLIP, generator=generator), CLIP) for _ in range(1000))
    assert abs(flipped - 500) < 6 * 250**0.5


def test_pairs_without_a_label_are_refused():
    with pytest.raises(ValueError, match="needs the clip's label, got none"):
        RandomHorizontalFlip(label_pairs=[(0, 1)])(CLIP)


def test_normalize_is_the_references_arithmetic_on_each_channel():
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    video = torch.randint(256, (2, 3, 4, 5, 6), dtype=torch.uint8)
    expected = (video.float() - torch.tensor(mean).view(3, 1, 1, 1)) / torch.tensor(std).view(3, 1, 1, 1)
    assert torch.equal(Normalize(mean, std)(video), expected)


def test_normalized_clips_fold_into_channels_last_frames_without_a_copy():
    out = Normalize([0.0] * 3, [1.0] * 3)(torch.zeros(2, 3, 4, 5, 6, dtype=torch.uint8))
    frames = out.transpose(1, 2).reshape(8, 3, 5, 6)
    assert frames.data_ptr() == out.data_ptr()
    assert frames.is_contiguous(memory_format=torch.channels_last)


def test_normalize_leaves_nothing_in_the_checkpoint():
    assert Normalize([0.0] * 3, [1.0] * 3).state_dict() == {}
