from collections import Counter
from itertools import combinations

import pytest
import torch

from tsn_tsm_plugin.transforms import ImgaugRandAugment
from tsn_tsm_plugin.transforms.augment_ops import fill_square
from tsn_tsm_plugin.transforms.imgaug_augment import NAMES, OPERATIONS


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(frames: int = 2, size: int = 32) -> torch.Tensor:
    return torch.randint(256, (3, frames, size, size), dtype=torch.uint8, generator=generator())


def draws(count: int) -> list:
    source = generator()
    return [ImgaugRandAugment().draw(source) for _ in range(count)]


def test_every_pair_of_different_operations_has_the_same_chance_and_list_order():
    counts = Counter(tuple(name for name, _ in draw) for draw in draws(8400))
    assert set(counts) == set(combinations(NAMES, 2))
    assert all(abs(count - 80) < 5 * 80**0.5 for count in counts.values())


def test_strengths_are_the_references_and_directions_are_drawn_per_clip():
    arguments: dict[str, set] = {name: set() for name in NAMES}
    for draw in draws(2000):
        for name, values in draw:
            arguments[name].add(values)
    tangents = sorted(tangent for (tangent,) in arguments["ShearX"] | arguments["ShearY"])
    assert tangents == pytest.approx([-0.2768, 0.2768], abs=1e-4)
    shares = sorted(share for (share,) in arguments["TranslateX"])
    assert shares == pytest.approx([-0.18, 0.18])
    assert arguments["TranslateY"] == arguments["TranslateX"]
    assert arguments["Rotate"] == {(-27.0,), (27.0,)}
    assert arguments["Posterize"] == {(3,)}
    assert arguments["Solarize"] == {(230,)}
    for name in ("Color", "Contrast", "Brightness", "Sharpness"):
        assert [factor for (factor,) in arguments[name]] == pytest.approx([1.72])
    centers = torch.tensor(list(arguments["Cutout"]))
    assert centers.min() < 0.05
    assert centers.max() > 0.95


@pytest.mark.parametrize(
    "name, level, expected",
    [
        ("Posterize", 0b10111111, 0b10100000),
        ("Solarize", 229, 229),
        ("Solarize", 230, 25),
        ("Brightness", 100, 172),
        ("Brightness", 200, 255),
        ("Invert", 55, 200),
        ("Contrast", 90, 90),
        ("Color", 90, 90),
        ("Sharpness", 90, 90),
    ],
)
def test_a_flat_frame_follows_the_formula(name, level, expected):
    frames = torch.full((2, 3, 8, 8), level, dtype=torch.uint8)
    result = OPERATIONS[name].apply(frames, OPERATIONS[name].strength)
    assert result.unique().tolist() == [expected]


def test_a_shift_is_18_percent_in_whole_pixels_and_leaves_black():
    frames = torch.full((1, 3, 40, 50), 255, dtype=torch.uint8)
    right = OPERATIONS["TranslateX"].apply(frames, 0.18)[0, 0]
    assert right[0].tolist() == [0] * 9 + [255] * 41
    up = OPERATIONS["TranslateY"].apply(frames, -0.18)[0, 0]
    assert up[:, 0].tolist() == [255] * 33 + [0] * 7


def test_cutout_covers_one_grey_square_of_18_percent_of_the_height():
    frames = torch.zeros(2, 3, 100, 200, dtype=torch.uint8)
    covered = fill_square(frames, center_x=0.5, center_y=0.25, side=0.18)
    rows, columns = covered[0, 0].any(1).nonzero().flatten(), covered[0, 0].any(0).nonzero().flatten()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (16, 33, 91, 108)
    assert covered.unique().tolist() == [0, 128]
    assert frames.sum() == 0


def test_cutout_at_a_corner_is_cut_off_by_the_frame():
    frames = torch.zeros(1, 3, 100, 200, dtype=torch.uint8)
    assert (fill_square(frames, center_x=0.0, center_y=1.0, side=0.18)[0, 0] == 128).sum() == 9 * 9


def test_all_frames_get_the_same_and_the_input_stays():
    still = noise(1).expand(3, 4, 32, 32)
    before = still.clone()
    for seed in range(40):
        video = ImgaugRandAugment()(still, generator=generator(seed))
        assert (video.shape, video.dtype) == (still.shape, torch.uint8)
        assert all(torch.equal(video[:, 0], video[:, t]) for t in range(4))
    assert torch.equal(still, before)


def test_the_same_generator_state_gives_the_same_clip_and_the_global_one_serves_without():
    first = ImgaugRandAugment()(noise(), generator=generator(3))
    assert torch.equal(first, ImgaugRandAugment()(noise(), generator=generator(3)))
    torch.manual_seed(3)
    assert torch.equal(first, ImgaugRandAugment()(noise()))
