"""Every transform on the same clip in uint8, in floats of 0-255 and in floats of 0-1."""

import re

import pytest
import torch
from support.videos import numbered_frames
from torch import Tensor, nn

from tsn_tsm_plugin import transforms as T

STEPS = {
    "rand_augment": lambda: T.RandAugment("rand-m9-n4-p1.0-mstd0.5-inc1"),
    "imgaug_rand_augment": T.ImgaugRandAugment,
    "color_jitter": lambda: T.ColorJitter(0.4, 0.4, 0.4, 0.1),
    "erase_with_noise": lambda: T.RandomErasing(1.0, mode="pixel"),
    "erase_with_a_colour_per_frame": lambda: T.RandomErasing(1.0, mode="rand", per_frame=True),
    "erase_with_grey": lambda: T.RandomErasing(1.0, mode="const", max_count=3),
    "flip": lambda: T.RandomHorizontalFlip(1.0),
    "center_crop": lambda: T.CenterCrop(16),
    "three_crop": lambda: T.ThreeCrop(24),
    "ten_crop": lambda: T.TenCrop(16),
    "twice_sample": lambda: T.TwiceSample(4),
    "dense_views": lambda: T.DenseViews(2),
}
REFUSE_FLOATS = {
    "short_side_scale": lambda: T.ShortSideScale(16),
    "multi_scale_crop": lambda: T.MultiScaleCrop(16),
    "random_resized_crop": lambda: T.RandomResizedCrop(16),
}
READ_THE_RANGE = [name for name in STEPS if name.startswith(("rand", "imgaug", "color", "erase"))]


def clip() -> Tensor:
    frames = torch.stack([torch.from_numpy(frame) for frame in numbered_frames(8, height=24, width=32)])
    return frames.permute(3, 0, 1, 2).contiguous()


def apply(step: nn.Module, video: Tensor, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return step(video)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", STEPS)
def test_a_clip_in_floats_becomes_what_it_becomes_in_uint8(name, seed):
    step, video = STEPS[name](), clip()
    expected = apply(step, video, seed)
    assert expected.dtype == torch.uint8
    for dtype in (torch.float32, torch.float64, torch.float16):
        in_255 = apply(step, video.to(dtype), seed)
        assert in_255.dtype == dtype
        assert torch.equal(in_255, expected.to(dtype))
        in_1 = apply(step, video.to(dtype) / 255, seed)
        assert in_1.dtype == dtype
        assert torch.equal((in_1.float() * 255).round(), expected.float())


@pytest.mark.parametrize("name", REFUSE_FLOATS)
def test_a_resize_refuses_floats_of_every_range(name):
    for video in (clip().float(), clip() / 255):
        with pytest.raises(TypeError, match="video must be uint8 in 0-255, got torch.float32"):
            REFUSE_FLOATS[name]()(video)


def test_normalize_gives_the_same_for_every_range():
    normalize, video = T.Normalize([120.0, 110.0, 100.0], [60.0, 50.0, 40.0]), clip()[None]
    expected = normalize(video)
    assert torch.equal(normalize(video.float()), expected)
    torch.testing.assert_close(normalize(video / 255), expected, rtol=0, atol=1e-5)
    assert torch.equal(normalize(torch.zeros(1, 3, 2, 4, 4)), normalize(torch.zeros(1, 3, 2, 4, 4).byte()))


def test_a_pipeline_takes_every_range():
    pipeline, video = T.ClipTransform([T.ShortSideScale(16), T.CenterCrop(16)]), clip()
    expected = pipeline({"video": video})["video"]
    for given in (video.float(), video.half(), video / 255, video.long()):
        assert torch.equal(pipeline({"video": given})["video"], expected)


def test_a_dark_clip_of_a_decoder_is_no_clip_of_0_to_1():
    dark = clip() // 200
    assert dark.unique().tolist() == [0, 1]
    assert torch.equal(T.ClipTransform([])({"video": dark.float()})["video"], dark)


UNCLEAR = {
    "black": (torch.zeros(3, 2, 8, 8), "from 0 to 0, which fits both ranges. Pass uint8."),
    "zeros and ones": (torch.eye(8).expand(3, 2, 8, 8), "from 0 to 1, which fits both ranges. Pass uint8."),
    "a little above 1": (1.5 * torch.rand(3, 2, 8, 8).clamp(0.9), "which fits both ranges. Pass uint8."),
    "normalised": (torch.linspace(-2, 2, 384).view(3, 2, 8, 8), "from -2 to 2. Transform clips before they"),
    "too bright": (torch.full((3, 2, 8, 8), 256.0), "from 256 to 256. Transform clips before they"),
    "not a number": (torch.full((3, 2, 8, 8), torch.nan), "from nan to nan. Transform clips before they"),
    "bool": (torch.ones(3, 2, 8, 8, dtype=torch.bool), "got torch.bool"),
}


@pytest.mark.parametrize("name", READ_THE_RANGE)
@pytest.mark.parametrize("case", UNCLEAR)
def test_a_clip_that_fits_both_ranges_or_none_is_refused(name, case):
    video, message = UNCLEAR[case]
    with pytest.raises(TypeError, match=re.escape(message)):
        STEPS[name]()(video)


@pytest.mark.parametrize("case", ["a little above 1", "normalised", "too bright", "not a number", "bool"])
def test_normalize_and_a_pipeline_refuse_what_is_no_clip(case):
    video, message = UNCLEAR[case]
    with pytest.raises(TypeError, match=re.escape(message)):
        T.Normalize([0.5] * 3, [0.5] * 3)(video[None])
    with pytest.raises(TypeError, match=re.escape(message)):
        T.ClipTransform([])({"video": video})


def test_every_transform_of_clips_is_tried_here():
    on_pairs = {"MixUp", "CutMix", "RandomMix"}
    modules = {
        name
        for name in T.__all__
        if isinstance(getattr(T, name), type) and issubclass(getattr(T, name), nn.Module)
    }
    tried = {type(make()).__name__ for make in (*STEPS.values(), *REFUSE_FLOATS.values())}
    assert modules - on_pairs - {"Normalize"} - tried == {"SampleFrames"}
