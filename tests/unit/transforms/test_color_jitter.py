import re

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from tsn_tsm_plugin.transforms import ColorJitter


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(frames: int = 2) -> torch.Tensor:
    return torch.randint(256, (3, frames, 16, 16), dtype=torch.uint8, generator=generator())


def test_factors_are_uniform_around_one_and_the_hue_around_zero():
    jitter, source = ColorJitter(0.4, 0.3, 0.2, 0.1), generator()
    drawn = [dict(jitter.draw(source)) for _ in range(2000)]
    for name, low, high in (
        ("brightness", 0.6, 1.4),
        ("contrast", 0.7, 1.3),
        ("saturation", 0.8, 1.2),
        ("hue", -0.1, 0.1),
    ):
        factors = torch.tensor([draw[name] for draw in drawn])
        width = high - low
        assert low <= factors.min() < low + 0.02 * width
        assert high - 0.02 * width < factors.max() <= high
        below = (factors < low + width / 4).sum()
        assert abs(below - 500) < 5 * 375**0.5


def test_factors_do_not_go_below_zero_and_stay_uniform():
    jitter, source = ColorJitter(brightness=3.0), generator()
    factors = torch.tensor([jitter.draw(source)[0][1] for _ in range(1000)])
    assert factors.min() >= 0
    assert abs((factors < 2).sum() - 500) < 5 * 250**0.5


def test_every_order_occurs():
    jitter, source = ColorJitter(0.4, 0.4, 0.4, 0.1), generator()
    assert len({tuple(name for name, _ in jitter.draw(source)) for _ in range(400)}) == 24


def test_pixels_equal_torchvisions_functions_in_the_drawn_order():
    jitter, video = ColorJitter(0.4, 0.4, 0.4, 0.1), noise()
    expected = video.transpose(0, 1)
    for name, factor in jitter.draw(generator(3)):
        expected = getattr(F, f"adjust_{name}")(expected, factor)
    assert torch.equal(jitter(video, generator=generator(3)), expected.transpose(0, 1))


def test_all_frames_change_alike_and_the_input_stays():
    still = noise(1).expand(3, 4, 16, 16)
    before = still.clone()
    video = ColorJitter(0.4, 0.4, 0.4, 0.1)(still, generator=generator())
    assert all(torch.equal(video[:, 0], video[:, t]) for t in range(4))
    assert torch.equal(still, before)


def test_without_strengths_the_clip_stays():
    assert torch.equal(ColorJitter()(noise()), noise())


@pytest.mark.parametrize(
    "strengths, message",
    [
        ((-0.1,), "brightness must be at least 0, got -0.1."),
        ((0.0, 0.0, 0.0, 0.6), "hue must be at most 0.5, half of the colour circle, got 0.6."),
    ],
)
def test_errors_name_the_argument_the_rule_and_the_value(strengths, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ColorJitter(*strengths)
