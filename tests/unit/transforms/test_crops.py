import re
from collections import Counter

import pytest
import torch

from tsn_tsm_plugin.transforms import CenterCrop, MultiScaleCrop, RandomResizedCrop, TenCrop, ThreeCrop


def coordinates(height: int, width: int, frames: int = 2) -> torch.Tensor:
    """A clip whose channels are column, row and frame of each pixel."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    clip = torch.stack([torch.stack([x, y, torch.full_like(x, t)]) for t in range(frames)], dim=1)
    return clip.to(torch.uint8)


def corners(clip: torch.Tensor) -> list[tuple[int, int]]:
    """(column, row) of the upper left pixel of every frame."""
    return [(int(frame[0, 0, 0]), int(frame[1, 0, 0])) for frame in clip.unbind(1)]


def windows(crop, height: int, width: int, draws: int) -> Counter:
    generator = torch.Generator().manual_seed(0)
    return Counter(crop.draw(height, width, generator) for _ in range(draws))


def test_center_crop_rounds_its_corner_down():
    assert corners(CenterCrop(4)(coordinates(7, 10))) == [(3, 1), (3, 1)]


def test_three_crop_goes_left_right_middle_and_keeps_the_frames_of_a_crop_together():
    clip = ThreeCrop(6)(coordinates(6, 11))
    assert corners(clip) == [(0, 0), (0, 0), (4, 0), (4, 0), (2, 0), (2, 0)]
    assert clip[2, :, 0, 0].tolist() == [0, 1, 0, 1, 0, 1]


def test_three_crop_of_a_portrait_video_goes_top_bottom_middle():
    assert corners(ThreeCrop(6)(coordinates(11, 6, frames=1))) == [(0, 0), (0, 4), (0, 2)]


def test_ten_crop_takes_corners_and_centre_each_with_its_mirror():
    clip = TenCrop(4)(coordinates(8, 12, frames=1))
    plain = [(0, 0), (8, 0), (0, 4), (8, 4), (4, 2)]
    assert corners(clip)[0::2] == plain
    assert corners(clip)[1::2] == [(x + 3, y) for x, y in plain]


def test_ten_crop_corners_stop_at_a_multiple_of_four_quarters():
    assert corners(TenCrop(4)(coordinates(7, 11, frames=1)))[6] == (4, 0)


@pytest.mark.parametrize("crop", [CenterCrop(9), ThreeCrop(9), TenCrop(9)])
def test_a_crop_larger_than_the_frame_is_refused_with_the_remedy(crop):
    message = "a crop of 9 px does not fit into frames of 8 x 12. Put ShortSideScale(9)"
    with pytest.raises(ValueError, match=re.escape(message)):
        crop(coordinates(8, 12))


def test_three_crop_refuses_frames_it_would_not_cover():
    with pytest.raises(ValueError, match="needs frames whose short side is its size 6, got 8 x 12"):
        ThreeCrop(6)(coordinates(8, 12))


def test_multi_scale_windows_are_the_ten_size_pairs_with_equal_chance():
    drawn = windows(MultiScaleCrop(224, num_fixed_crops=5), 256, 340, 8000)
    sizes = Counter()
    for (_, _, height, width), count in drawn.items():
        sizes[height, width] += count
    near = {(256, 256), (256, 224), (224, 256), (224, 224), (224, 192), (192, 224), (192, 192)}
    assert set(sizes) == near | {(192, 168), (168, 192), (168, 168)}
    assert all(abs(count - 800) < 6 * 800**0.5 for count in sizes.values())


@pytest.mark.parametrize("num_fixed_crops", [5, 13])
def test_multi_scale_windows_sit_at_the_fixed_positions(num_fixed_crops):
    drawn = windows(MultiScaleCrop(224, scales=[0.5], num_fixed_crops=num_fixed_crops), 256, 340, 3000)
    quarters = {(left // 53, top // 32) for top, left, _, _ in drawn}
    five = {(0, 0), (4, 0), (0, 4), (4, 4), (2, 2)}
    edges = {(0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3)}
    assert quarters == (five if num_fixed_crops == 5 else five | edges)
    expected = 3000 / num_fixed_crops
    assert all(abs(count - expected) < 6 * expected**0.5 for count in drawn.values())


def test_a_side_close_to_the_size_snaps_to_it():
    drawn = windows(MultiScaleCrop(222, scales=[0.875]), 256, 340, 10)
    assert {window[2:] for window in drawn} == {(222, 222)}


def test_multi_scale_crop_takes_one_window_for_all_frames():
    clip = MultiScaleCrop(32)(coordinates(40, 60, frames=5), generator=torch.Generator().manual_seed(1))
    assert clip.shape == (3, 5, 32, 32)
    assert all(torch.equal(clip[:2, 0], clip[:2, t]) for t in range(5))


def test_random_resized_windows_cover_the_stated_areas_and_ratios():
    drawn = [(h, w) for _, _, h, w in windows(RandomResizedCrop(224), 256, 340, 4000).elements()]
    areas = torch.tensor([h * w / (256 * 340) for h, w in drawn])
    ratios = torch.tensor([w / h for h, w in drawn])
    assert 0.079 < areas.min() < 0.09
    assert areas.max() > 0.9
    assert ratios.min() > 0.745
    assert ratios.max() < 1.34
    # Areas are uniform where every ratio fits: below 256 * 256 * 3 / 4 pixels.
    low, high = ((areas > 0.1) & (areas < 0.3)).sum(), ((areas > 0.3) & (areas < 0.5)).sum()
    assert abs(int(low) - int(high)) < 6 * (2 * int(low)) ** 0.5


def test_random_resized_windows_reach_every_edge():
    drawn = windows(RandomResizedCrop(8, area=(0.5, 0.5), aspect_ratio=(1.0, 1.0)), 12, 14, 400)
    assert {(top, left) for top, left, _, _ in drawn} == {(t, x) for t in range(4) for x in range(6)}


def test_random_resized_crop_takes_the_centred_square_if_nothing_fits():
    crop = RandomResizedCrop(8, area=(1.0, 1.0), aspect_ratio=(3.0, 4.0))
    assert set(windows(crop, 10, 20, 20)) == {(0, 5, 10, 10)}


@pytest.mark.parametrize(
    "create, message",
    [
        (lambda: MultiScaleCrop(8, num_fixed_crops=6), "num_fixed_crops must be 5 or 13, got 6."),
        (lambda: MultiScaleCrop(8, scales=[1.5]), "scales must be numbers in (0, 1], got (1.5,)."),
        (lambda: RandomResizedCrop(8, area=(0.5, 0.1)), "area must be a rising pair of positive numbers"),
    ],
)
def test_errors_name_the_argument_the_rule_and_the_value(create, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        create()
