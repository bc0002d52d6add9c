"""Registered transforms by name in PyTorchVideo's ``create_video_transform``."""

import pytest
import torch
from torch.utils.data import DataLoader

from tsn_tsm_plugin.pytorchvideo_patch.activate import activate
from tsn_tsm_plugin.registry import TRANSFORMS
from tsn_tsm_plugin.transforms import (
    CutMix,
    MixCollate,
    MixUp,
    RandomMix,
    ThreeCrop,
    TwiceSample,
    create_test_transform,
)

SIZES = {"min_size": 32, "max_size": 40, "crop_size": 32}
VIEWS = ("twice_sample", "dense_views", "three_crop", "ten_crop")
PARAS = {"dense_views": {"num_views": 2, "sample_range": 8}, "color_jitter": {"brightness": 0.4}}
MEAN, STD = 0.45, 0.225


@pytest.fixture(autouse=True)
def _active():
    activate()


def create_video_transform(**options):
    # It cannot be imported with today's torchvision before the activation.
    from pytorchvideo import transforms

    return transforms.create_video_transform(**options)


def levels(num_frames=16, height=40, width=52):
    return torch.randint(
        0, 256, (3, num_frames, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def apply(video, *, mode, name, **options):
    options = {"num_samples": 4, "aug_paras": PARAS.get(name), **SIZES, **options}
    transform = create_video_transform(mode=mode, aug_type=name, **options)
    torch.manual_seed(0)
    import random

    random.seed(0)
    return transform(video)


@pytest.mark.parametrize("name", TRANSFORMS.names())
def test_float_clips_of_the_datasets_and_of_other_transforms_give_what_uint8_clips_give(name):
    mode = "val" if name in VIEWS else "train"
    expected = apply(levels(), mode=mode, name=name)
    of_dataset = apply(levels().float(), mode=mode, name=name)
    scaled = apply(levels().float() / 255, mode=mode, name=name, convert_to_float=False)

    assert expected.is_floating_point() and float(expected.max()) <= (1 - MEAN) / STD + 1e-4
    torch.testing.assert_close(of_dataset, expected)
    torch.testing.assert_close(scaled, expected, rtol=1e-4, atol=1e-4)


def test_levels_that_nobody_scales_are_refused():
    with pytest.raises(TypeError, match="convert_to_float=True"):
        apply(levels().float(), mode="train", name="center_crop", convert_to_float=False)


def test_a_normalised_clip_is_refused():
    with pytest.raises(TypeError, match="before they are normalised"):
        apply(torch.randn(3, 8, 40, 52), mode="train", name="rand_augment")


@pytest.mark.parametrize("mode", ["val", "test"])
def test_twice_sample_takes_the_frames_itself(mode):
    video = levels(32, 32, 32)
    out = apply(video, mode=mode, name="twice_sample", num_samples=8)

    wanted = (TwiceSample(8)(video).float() / 255 - MEAN) / STD
    torch.testing.assert_close(out, wanted)
    assert not torch.equal(out[:, :8], out[:, 8:])


def test_three_crop_follows_a_scale_to_its_own_size():
    out = apply(levels(4, 64, 96), mode="test", name="three_crop")

    assert out.shape == (3, 12, 32, 32)
    video = levels(4, 32, 48)
    wanted = (ThreeCrop(32)(video).float() / 255 - MEAN) / STD
    torch.testing.assert_close(apply(video, mode="test", name="three_crop"), wanted)


def test_a_dictionary_keeps_its_other_keys_but_those_removed():
    transform = create_video_transform(
        mode="test", video_key="video", remove_key=["audio"], aug_type="twice_sample", num_samples=4, **SIZES
    )

    clip = transform({"video": levels(), "audio": None, "label": 3})

    assert clip["video"].shape == (3, 8, 32, 32)
    assert set(clip) == {"video", "label"}


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_a_test_are_refused_in_training(name):
    with pytest.raises(ValueError, match=f"aug_type='{name}' makes the views of a test, got mode='train'"):
        apply(levels(), mode="train", name=name)


def test_a_missing_argument_is_named():
    with pytest.raises(ValueError, match="aug_paras of transform 'twice_sample' takes .*'num_segments'"):
        create_video_transform(mode="test", aug_type="twice_sample", num_samples=None)


@pytest.mark.parametrize(
    ("name", "message"),
    [("three_crops", "nearest: three_crop"), ("randaugment", "nearest: .*randaug"), ("xyzzy", "known: ")],
)
def test_a_misspelt_name_gets_the_nearest_ones_in_the_hosts_error_type(name, message):
    with pytest.raises(NotImplementedError, match=message):
        create_video_transform(mode="train", aug_type=name)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_is_sent_to_the_collate(name):
    with pytest.raises(NotImplementedError, match=rf"batch.*MixCollate\('{name}', num_classes=K\).*MixVideo"):
        create_video_transform(mode="train", aug_type=name)


@pytest.mark.parametrize("is_ours", [True, False], ids=["ours", "pytorchvideo"])
def test_the_collate_mixes_the_batch_of_a_loader(is_ours):
    from pytorchvideo.transforms import MixVideo

    mix = MixUp(0.8, num_classes=5) if is_ours else MixVideo(num_classes=5)
    clips = [{"video": torch.rand(3, 2, 8, 8), "label": label} for label in (0, 4)]

    batch = next(iter(DataLoader(clips, batch_size=2, collate_fn=MixCollate(mix))))

    assert batch["video"].shape == (2, 3, 2, 8, 8)
    torch.testing.assert_close(batch["label"].sum(1), torch.ones(2))


def test_positional_arguments_are_in_the_order_of_the_host():
    mixup, cutmix = MixUp(0.8, 0.1, 10), CutMix(0.7, 0.2, 11)
    mix = RandomMix(0.3, 0.8, 0.9, 0.1, 12)

    assert (mixup.alpha, mixup.label_smoothing, mixup.num_classes) == (0.8, 0.1, 10)
    assert (cutmix.alpha, cutmix.label_smoothing, cutmix.num_classes) == (0.7, 0.2, 11)
    assert (mix.switch_prob, mix.mixup.alpha, mix.cutmix.alpha) == (0.3, 0.8, 0.9)
    assert (mix.label_smoothing, mix.num_classes) == (0.1, 12)


def test_the_transform_of_a_test_takes_the_frames_by_name():
    clip = {"video": levels(32, 40, 52)}

    named = create_test_transform(short_side=32, crop_size=32, sample_frames="twice_sample", num_segments=4)
    made = create_test_transform(short_side=32, crop_size=32, sample_frames=TwiceSample(4))

    assert torch.equal(named(clip)["video"], made(clip)["video"])
    with pytest.raises(ValueError, match="needs num_segments"):
        create_test_transform(sample_frames="twice_sample")
