import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tsn_tsm_plugin.config import get_cfg
from tsn_tsm_plugin.transforms import CutMix, MixUp, Normalize, RandomMix
from tsn_tsm_plugin.transforms.build import build_batch_transform

NUM_CLASSES = 7
MIXES = [
    pytest.param(lambda **keywords: MixUp(num_classes=NUM_CLASSES, alpha=1.0, **keywords), id="mixup"),
    pytest.param(lambda **keywords: CutMix(num_classes=NUM_CLASSES, alpha=1.0, **keywords), id="cutmix"),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(batch_size: int, height: int = 6, width: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """Clip b is filled with the number b, and its label is b: what is mixed of what can be read off."""
    numbers = torch.arange(batch_size)
    return numbers.view(-1, 1, 1, 1, 1).float().expand(-1, 3, 2, height, width).clone(), numbers


def partners(labels: torch.Tensor) -> list[int]:
    """Read the partner of each clip off its mixed label, itself where there is no other."""
    return [
        next((k for k in row.nonzero().flatten().tolist() if k != own), own) for own, row in enumerate(labels)
    ]


def kolmogorov_smirnov(first: np.ndarray, second: np.ndarray) -> float:
    """Return the largest distance between two empirical distributions, in units of its 0.1 % bound."""
    points = np.concatenate([first, second])
    shares = [np.searchsorted(np.sort(drawn), points, "right") / len(drawn) for drawn in (first, second)]
    return np.abs(shares[0] - shares[1]).max() / (1.95 * math.sqrt(1 / len(first) + 1 / len(second)))


def test_mixup_is_the_weighted_mean_of_both_clips_and_both_labels():
    video, labels = clips(5)
    mixed, soft = MixUp(num_classes=NUM_CLASSES, alpha=1.0)(video, labels, generator=generator())
    partner = partners(soft)
    share = soft[0, 0]
    expected = share * video + (1 - share) * video[partner]
    torch.testing.assert_close(mixed, expected)
    one_hot = F.one_hot(labels, NUM_CLASSES)
    torch.testing.assert_close(soft, share * one_hot + (1 - share) * one_hot[partner])


def test_cutmix_pastes_one_box_of_the_partner_and_the_label_counts_its_pixels():
    video, labels = clips(5)
    mixed, soft = CutMix(num_classes=NUM_CLASSES, alpha=1.0)(video, labels, generator=generator(1))
    partner = partners(soft)
    is_pasted = mixed[0, 0, 0] != 0
    rows, columns = is_pasted.any(1).nonzero().flatten(), is_pasted.any(0).nonzero().flatten()
    assert is_pasted.sum() == len(rows) * len(columns) > 0
    assert torch.equal(mixed, torch.where(is_pasted, video[partner], video))
    assert soft[0, 0] == pytest.approx(1 - len(rows) * len(columns) / (6 * 9))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_mixups_weight_has_the_beta_distribution(alpha):
    mix, source = MixUp(num_classes=NUM_CLASSES, alpha=alpha), generator()
    drawn = np.array([mix.draw(6, 9, source).share for _ in range(3000)])
    assert kolmogorov_smirnov(drawn, np.random.default_rng(0).beta(alpha, alpha, 3000)) < 1


def reference_box(alpha: float, height: int, width: int, random: np.random.Generator) -> tuple[int, ...]:
    """CutMix's box by the formulas of the paper and of MMAction2, written in their own words."""
    ratio = np.sqrt(1.0 - random.beta(alpha, alpha))
    cut_w, cut_h = int(width * ratio), int(height * ratio)
    cx, cy = random.integers(width), random.integers(height)
    x1, x2 = np.clip(cx - cut_w // 2, 0, width), np.clip(cx + cut_w // 2, 0, width)
    y1, y2 = np.clip(cy - cut_h // 2, 0, height), np.clip(cy + cut_h // 2, 0, height)
    return int(y1), int(x1), int(y2), int(x2)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_cutmixs_boxes_have_the_references_distribution(alpha):
    mix, source, random = CutMix(num_classes=NUM_CLASSES, alpha=alpha), generator(), np.random.default_rng(0)
    drawn = np.array([mix.draw(56, 84, source).box for _ in range(3000)])
    expected = np.array([reference_box(alpha, 56, 84, random) for _ in range(3000)])
    for side in range(4):
        assert kolmogorov_smirnov(drawn[:, side], expected[:, side]) < 1
    area = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (drawn, expected)]
    assert kolmogorov_smirnov(*area) < 1


@pytest.mark.parametrize("height, width, half_height, half_width", [(8, 12, 2, 4), (7, 9, 2, 3)])
def test_cutmixs_box_stands_around_every_pixel_and_loses_the_odd_one(height, width, half_height, half_width):
    # Lambda is 0.5, so that sides are 0.707 of the frame's.
    mix, source = CutMix(num_classes=NUM_CLASSES, alpha=1e9), generator()
    drawn = {mix.draw(height, width, source).box for _ in range(2000)}
    assert drawn == {
        (
            max(y - half_height, 0),
            max(x - half_width, 0),
            min(y + half_height, height),
            min(x + half_width, width),
        )
        for y in range(height)
        for x in range(width)
    }


@pytest.mark.parametrize("create", MIXES)
def test_every_clip_meets_every_other_with_equal_chance(create):
    video, labels = clips(3)
    counts, source = torch.zeros(3, 3), generator()
    for _ in range(1500):
        soft = create()(video, labels, generator=source)[1]
        for own, partner in enumerate(partners(soft)):
            counts[own, partner] += 1
    others = counts[~torch.eye(3, dtype=torch.bool)]
    # CutMix's box may be empty, which reads as a clip that met itself.
    assert (others - others.mean()).abs().max() < 6 * others.mean() ** 0.5


@pytest.mark.parametrize("create", MIXES)
def test_a_batch_is_not_changed_in_place(create):
    video, labels = clips(4)
    soft_labels = F.one_hot(labels, NUM_CLASSES).float()
    before = video.clone(), soft_labels.clone()
    create(label_smoothing=0.1)(video, soft_labels, generator=generator())
    assert torch.equal(video, before[0])
    assert torch.equal(soft_labels, before[1])


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("batch_size", [0, 1, 3])
@pytest.mark.parametrize("create", MIXES)
def test_batches_of_any_size_give_shares_that_sum_to_one(create, batch_size, per_sample):
    video, labels = clips(batch_size)
    mixed, soft = create(per_sample=per_sample)(video, labels, generator=generator())
    assert mixed.shape == video.shape
    assert (soft.shape, soft.dtype) == ((batch_size, NUM_CLASSES), torch.float32)
    torch.testing.assert_close(soft.sum(1), torch.ones(batch_size))


@pytest.mark.parametrize("create", MIXES)
def test_a_single_clip_mixed_with_itself_stays(create):
    video, labels = torch.rand(1, 3, 2, 6, 9), torch.tensor([4])
    mixed, soft = create()(video, labels, generator=generator())
    torch.testing.assert_close(mixed, video)
    torch.testing.assert_close(soft, F.one_hot(labels, NUM_CLASSES).float())


@pytest.mark.parametrize("create", MIXES)
def test_hard_and_soft_labels_give_the_same(create):
    video, labels = clips(4)
    one_hot = F.one_hot(labels, NUM_CLASSES).double()
    hard = create(label_smoothing=0.1)(video, labels, generator=generator())[1]
    assert torch.equal(hard, create(label_smoothing=0.1)(video, one_hot, generator=generator())[1])


def test_smoothing_spreads_its_share_over_all_classes():
    soft = MixUp(num_classes=4, label_smoothing=0.2)(*clips(1), generator=generator())[1]
    assert soft[0].tolist() == pytest.approx([0.85, 0.05, 0.05, 0.05])


@pytest.mark.parametrize("create", MIXES)
def test_per_sample_each_clip_has_its_own_blend(create):
    video, labels = clips(6, 40, 50)
    shares = create(per_sample=True)(video, labels, generator=generator())[1][range(6), labels]
    assert len(shares[shares < 1].unique()) > 3
    shares = create()(video, labels, generator=generator())[1][range(6), labels]
    assert len(shares[shares < 1].unique()) == 1


@pytest.mark.parametrize("create", MIXES)
def test_all_frames_are_mixed_alike(create):
    video, labels = clips(4)
    mixed = create(per_sample=True)(video, labels, generator=generator())[0]
    assert torch.equal(mixed[:, :, 0], mixed[:, :, 1])


@pytest.mark.parametrize("create", MIXES)
def test_the_same_generator_state_gives_the_same_and_the_global_one_serves_without(create):
    video, labels = clips(5)
    first, second = (create()(video, labels, generator=generator(3)) for _ in range(2))
    assert all(map(torch.equal, first, second))
    torch.manual_seed(3)
    assert all(map(torch.equal, first, create()(video, labels)))


@pytest.mark.parametrize("create", MIXES)
def test_the_memory_order_of_normalize_is_kept(create):
    normalized = Normalize([0.0] * 3, [1.0] * 3)(torch.randint(256, (4, 3, 2, 6, 9), dtype=torch.uint8))
    mixed = create()(normalized, torch.arange(4), generator=generator())[0]
    assert mixed.stride() == normalized.stride()


@pytest.mark.parametrize("per_sample", [False, True])
def test_the_choice_follows_its_two_probabilities(per_sample):
    mix = RandomMix(num_classes=NUM_CLASSES, prob=0.6, switch_prob=0.25, per_sample=per_sample)
    source = generator()
    blends = [mix.draw(56, 84, source) for _ in range(3000)]
    num_cut = sum(blend.box is not None for blend in blends)
    num_mixed = sum(blend.box is None and blend.share < 1 for blend in blends)
    assert abs(num_cut - 450) < 5 * 450**0.5
    assert abs(num_mixed - 1350) < 5 * 1350**0.5


@pytest.mark.parametrize("alphas, is_cut", [((0.2, 0.0), False), ((0.0, 0.2), True)])
def test_an_alpha_of_zero_leaves_that_way_out(alphas, is_cut):
    mix = RandomMix(num_classes=NUM_CLASSES, mixup_alpha=alphas[0], cutmix_alpha=alphas[1])
    source = generator()
    assert {mix.draw(56, 84, source).box is not None for _ in range(100)} == {is_cut}


def test_if_nothing_is_mixed_labels_are_smoothed_all_the_same():
    video, labels = clips(2)
    mixed, soft = RandomMix(num_classes=4, prob=0.0, label_smoothing=0.4)(video, labels)
    assert mixed is video
    torch.testing.assert_close(soft, 0.6 * torch.eye(4)[:2] + 0.1)


def test_per_sample_a_batch_holds_both_ways_and_plain_clips():
    video, labels = clips(7, 56, 84)
    mix = RandomMix(num_classes=NUM_CLASSES, prob=0.7, label_smoothing=0.0, per_sample=True)
    mixed, soft = mix(video, labels, generator=generator(1))
    partner = partners(soft)
    kinds = set()
    for own in range(7):
        share, levels = float(soft[own, own]), mixed[own].unique()
        if share == 1.0:
            assert torch.equal(mixed[own], video[own])
            kinds.add("plain")
        elif len(levels) == 2:
            assert set(levels.tolist()) == {own, partner[own]}
            assert (mixed[own, 0, 0] == own).float().mean() == pytest.approx(share, abs=1e-6)
            kinds.add("cut")
        else:
            expected = torch.full((), share * own + (1 - share) * partner[own])
            torch.testing.assert_close(mixed[own], expected.expand(3, 2, 56, 84))
            kinds.add("mixed")
    assert kinds == {"plain", "cut", "mixed"}


def test_the_loss_of_soft_labels_is_the_weighted_loss_of_both():
    video, labels = clips(5)
    soft = MixUp(num_classes=NUM_CLASSES, alpha=1.0)(video, labels, generator=generator())[1]
    logits = torch.randn(5, NUM_CLASSES, generator=generator())
    share, partner = soft[0, 0], torch.tensor(partners(soft))
    both = [F.cross_entropy(logits, target) for target in (labels, partner)]
    torch.testing.assert_close(F.cross_entropy(logits, soft), share * both[0] + (1 - share) * both[1])


def test_the_config_turns_it_on_with_slowfasts_keys():
    cfg = get_cfg()
    assert build_batch_transform(cfg) is None
    cfg.merge_from_list(["MIXUP.ENABLE", True, "MIXUP.ALPHA", 0.2, "MIXUP.CUTMIX_ALPHA", 0.0])
    cfg.merge_from_list(["MIXUP.PROB", 0.9, "MIXUP.LABEL_SMOOTH_VALUE", 0.05, "MODEL.NUM_CLASSES", 174])
    mix = build_batch_transform(cfg)
    assert mix.mixup is not None
    assert (mix.mixup.alpha, mix.cutmix) == (0.2, None)
    assert (mix.num_classes, mix.prob, mix.label_smoothing) == (174, 0.9, 0.05)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: MixUp(num_classes=4, alpha=0.0), ValueError, "alpha must be positive, got 0.0."),
        (lambda: CutMix(num_classes=0), ValueError, "num_classes must be at least 1, got 0."),
        (
            lambda: MixUp(num_classes=4, label_smoothing=1.0),
            ValueError,
            "label_smoothing must be in [0, 1), got 1.0.",
        ),
        (lambda: RandomMix(num_classes=4, prob=1.5), ValueError, "prob must be in [0, 1], got 1.5."),
        (
            lambda: RandomMix(num_classes=4, mixup_alpha=0.0, cutmix_alpha=0.0),
            ValueError,
            "mixup_alpha or cutmix_alpha must be positive, got 0 for both.",
        ),
        (
            lambda: MixUp(num_classes=4)(torch.zeros(2, 3, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1])),
            TypeError,
            "video must be float, got torch.uint8. Mix after Normalize",
        ),
        (
            lambda: MixUp(num_classes=4)(torch.zeros(2, 3, 1, 4, 4), torch.tensor([0, 4])),
            ValueError,
            "labels must be in [0, num_classes=4), got [0, 4].",
        ),
        (
            lambda: MixUp(num_classes=4)(torch.zeros(2, 3, 1, 4, 4), torch.zeros(2, 5)),
            ValueError,
            "labels must be int64 (2,) or float (2, 4), got torch.float32 (2, 5).",
        ),
    ],
)
def test_errors_name_the_argument_the_rule_and_the_value(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
