import math
import re

import pytest
import torch

from tsn_tsm_plugin.transforms import RandomErasing

MEAN, STD = (120.0, 110.0, 100.0), (30.0, 20.0, 10.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def black(frames: int = 3, height: int = 60, width: int = 80) -> torch.Tensor:
    return torch.zeros(3, frames, height, width, dtype=torch.uint8)


def test_areas_shapes_and_positions_equal_the_paper():
    erase, source = RandomErasing(1.0, area=(0.02, 0.33), min_aspect=0.3), generator()
    boxes = [box for _ in range(3000) for box in erase.draw(200, 200, source)]
    assert len(boxes) == 3000
    tops, lefts, heights, widths = torch.tensor(boxes).double().T
    areas, ratios = heights * widths / 200**2, (heights / widths).log()
    assert 0.018 < areas.min()
    assert areas.max() < 0.34
    assert ratios.abs().max() < -math.log(0.29)
    # Uniform areas and log-uniform shapes, but for the few large, oblong boxes that do not fit.
    assert abs((areas < 0.175).sum() - 1500) < 5 * 750**0.5 + 100
    assert abs((ratios < 0).sum() - 1500) < 5 * 750**0.5
    positions = tops / (200 - heights)
    assert abs((positions < 0.5).sum() - 1500) < 5 * 750**0.5
    assert (positions.min(), positions.max(), lefts.min()) == (0, 1, 0)


def test_some_clips_are_erased_and_the_others_stay():
    erase, source = RandomErasing(0.25), generator()
    erased = sum(bool(erase(black(1), generator=source).any()) for _ in range(1000))
    assert abs(erased - 250) < 5 * 187**0.5


def test_one_box_serves_all_frames_unless_each_has_its_own():
    mean = {"mode": "const", "mean": MEAN, "std": STD}
    erased = RandomErasing(1.0, **mean)(black(), generator=generator()) > 0
    assert erased.any()
    assert all(torch.equal(erased[:, 0], erased[:, t]) for t in range(3))
    erased = RandomErasing(1.0, per_frame=True, **mean)(black(), generator=generator()) > 0
    assert erased.any(-1).any(-1).all()
    assert not torch.equal(erased[:, 0], erased[:, 1])


@pytest.mark.parametrize("mode, num_colors", [("const", 1), ("rand", 3), ("pixel", 100)])
def test_the_filling_is_one_colour_one_per_frame_or_noise(mode, num_colors):
    erased = RandomErasing(1.0, area=(0.3, 0.3), mode=mode, mean=MEAN, std=STD)(
        black(), generator=generator()
    )
    colors = erased[:, (erased > 0).any(0)].T
    assert len(colors.unique(dim=0)) >= num_colors
    if mode == "const":
        assert colors.unique(dim=0).tolist() == [[120, 110, 100]]
    if mode == "rand":
        assert len(colors.unique(dim=0)) == 3
    if mode == "pixel":
        torch.testing.assert_close(colors.double().mean(0), torch.tensor(MEAN).double(), atol=1.0, rtol=0)
        torch.testing.assert_close(colors.double().std(0), torch.tensor(STD).double(), atol=1.0, rtol=0)


def test_several_boxes_share_the_area():
    erase, source = RandomErasing(1.0, area=(0.3, 0.3), max_count=3), generator()
    draws = [erase.draw(200, 200, source) for _ in range(600)]
    for count in (1, 2, 3):
        of_count = [draw for draw in draws if len(draw) == count]
        assert abs(len(of_count) - 200) < 5 * 133**0.5
        assert all(
            abs(height * width - 0.3 * 200**2 / count) < 250
            for draw in of_count
            for _, _, height, width in draw
        )


def test_a_frame_too_small_for_any_box_stays():
    video = black(1, 1, 1)
    assert torch.equal(RandomErasing(1.0)(video), video)


def test_the_input_stays_and_the_same_generator_state_gives_the_same():
    video = black()
    first = RandomErasing(1.0)(video, generator=generator(5))
    assert not video.any()
    assert torch.equal(first, RandomErasing(1.0)(video, generator=generator(5)))


@pytest.mark.parametrize(
    "keywords, message",
    [
        ({"p": 2.0}, "p must be in [0, 1], got 2.0."),
        ({"area": (0.5, 0.2)}, "area must be a rising pair of numbers in (0, 1], got (0.5, 0.2)."),
        ({"min_aspect": 3.0}, "min_aspect must be in (0, 1], got 3.0."),
        ({"mode": "grey"}, "mode must be one of ('const', 'rand', 'pixel'), got 'grey'."),
        ({"max_count": 0}, "max_count must be at least 1, got 0."),
    ],
)
def test_errors_name_the_argument_the_rule_and_the_value(keywords, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        RandomErasing(**keywords)
