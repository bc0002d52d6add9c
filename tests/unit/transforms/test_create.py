import pickle
import re

import pytest
import torch
from support.videos import frame_number, numbered_frames, write_video

from tsn_tsm_plugin.config import get_cfg
from tsn_tsm_plugin.data.pytorchvideo_bridge import SparsePathHandler, WholeVideoSampler
from tsn_tsm_plugin.transforms import (
    DenseViews,
    RandomErasing,
    SampleFrames,
    TwiceSample,
    create_test_transform,
    create_tsn_train_transform,
    uniform_sampler,
)
from tsn_tsm_plugin.transforms.build import build_clip_transform


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clip(frames: int = 4, height: int = 40, width: int = 56, label: int = 3) -> dict:
    video = torch.randint(256, (3, frames, height, width), dtype=torch.uint8, generator=generator())
    return {"video": video, "label": label, "video_name": "a.mp4", "video_index": 5}


def names(transform) -> list[str]:
    return [type(step).__name__ for step in transform.steps]


FULL = {
    "short_side": 32,
    "crop_size": 24,
    "rand_augment": "rand-m9-mstd0.5-inc1",
    "color_jitter": (0.4, 0.4, 0.4),
    "random_erasing": RandomErasing(0.5),
}


def test_training_steps_come_in_the_recipes_order():
    transform = create_tsn_train_transform(**FULL, sample_frames=TwiceSample(2))
    assert names(transform) == [
        "TwiceSample",
        "ShortSideScale",
        "MultiScaleCrop",
        "RandomHorizontalFlip",
        "RandAugment",
        "ColorJitter",
        "RandomErasing",
    ]


def test_what_is_not_asked_for_is_not_there():
    transform = create_tsn_train_transform(short_side=0, flip_prob=0.0, color_jitter=(0.0, 0.0, 0.0, 0.0))
    assert names(transform) == ["MultiScaleCrop"]


@pytest.mark.parametrize("crop", ["multi_scale", "random_resized", "center"])
def test_the_flip_stays_with_every_crop(crop):
    transform = create_tsn_train_transform(crop=crop, short_side=32, crop_size=24, flip_label_pairs=[(2, 3)])
    labels = [transform(clip(label=3), generator(seed))["label"] for seed in range(200)]
    assert abs(labels.count(2) - 100) < 5 * 50**0.5


def test_the_same_generator_state_gives_the_same_clip_and_another_another():
    transform = create_tsn_train_transform(**FULL)
    first = transform(clip(), generator(1))["video"]
    assert (first.shape, first.dtype) == ((3, 4, 24, 24), torch.uint8)
    assert torch.equal(first, transform(clip(), generator(1))["video"])
    assert not torch.equal(first, transform(clip(), generator(2))["video"])


def test_the_clip_dictionary_is_not_changed():
    given = clip()
    before = given["video"].clone()
    transformed = create_tsn_train_transform(**FULL, flip_label_pairs=[(2, 3)])(given, generator())
    assert torch.equal(given["video"], before)
    assert (given["label"], given["video_name"]) == (3, "a.mp4")
    assert (transformed["video_name"], transformed["video_index"]) == ("a.mp4", 5)


def test_a_transform_can_be_sent_to_a_spawned_worker():
    transform = create_tsn_train_transform(
        **{**FULL, "rand_augment": "imgaug_default"}, sample_frames=DenseViews(2)
    )
    sent = pickle.loads(pickle.dumps(transform))
    assert repr(sent) == repr(transform)
    assert torch.equal(sent(clip(), generator())["video"], transform(clip(), generator())["video"])


@pytest.mark.parametrize("num_crops", [1, 3, 10])
def test_a_test_clip_holds_all_crops_of_all_frames(num_crops):
    transform = create_test_transform(short_side=24, crop_size=24, num_crops=num_crops)
    video = transform(clip())["video"]
    assert video.shape == (3, num_crops * 4, 24, 24)
    assert torch.equal(video, transform(clip())["video"])


def test_a_clip_without_a_label_passes_if_no_label_is_needed():
    unlabeled = {"video": clip()["video"]}
    assert set(create_test_transform(short_side=24, crop_size=24)(unlabeled)) == {"video"}
    with pytest.raises(ValueError, match="needs the clip's label, got none"):
        create_tsn_train_transform(short_side=32, crop_size=24, flip_label_pairs=[(0, 1)])(unlabeled)


def test_dense_views_of_a_whole_clip_are_the_dense_windows():
    frame_numbers = torch.arange(100).view(1, 100, 1, 1).expand(3, 100, 2, 2)
    views = DenseViews(2, num_views=3, sample_range=20)(frame_numbers)
    assert views[0, :, 0, 0].tolist() == [0, 10, 40, 50, 80, 90]


def test_sampled_frames_follow_the_generator():
    frame_numbers = torch.arange(100).view(1, 100, 1, 1)
    sampler = uniform_sampler(4, mode="train")
    drawn = SampleFrames(sampler)(frame_numbers, generator=generator(2)).flatten()
    assert torch.equal(drawn, sampler(100, generator(2)))


@pytest.fixture
def labeled_video(tmp_path):
    frames = numbered_frames(20, height=80, width=80)
    return [(str(write_video(tmp_path / "numbers.mp4", frames, gop_size=5)), {"label": 1})]


@pytest.mark.parametrize("reads_sparsely", [True, False])
def test_pytorchvideos_dataset_takes_a_transform_in_its_slot(labeled_video, reads_sparsely):
    pytorchvideo_data = pytest.importorskip("pytorchvideo.data")
    sampler = uniform_sampler(4, mode="test")
    dataset = pytorchvideo_data.LabeledVideoDataset(
        labeled_video,
        WholeVideoSampler(),
        video_sampler=torch.utils.data.SequentialSampler,
        transform=create_test_transform(
            short_side=80, crop_size=80, sample_frames=None if reads_sparsely else SampleFrames(sampler)
        ),
        decode_audio=False,
        decoder="pyav",
    )
    if reads_sparsely:
        dataset.video_path_handler = SparsePathHandler(sampler)
    item = next(iter(dataset))
    assert item["label"] == 1
    assert item["video"].dtype == torch.uint8
    numbers = [frame_number(frame) for frame in item["video"].unbind(1)]
    assert numbers == [2, 7, 12, 17]


def test_the_config_reaches_every_step():
    cfg = get_cfg()
    cfg.merge_from_list(["AUG.AA_TYPE", "imgaug_default", "AUG.RE_PROB", 0.3, "AUG.RE_MODE", "const"])
    cfg.merge_from_list(["AUG.COLOR_JITTER", [0.4, 0.0, 0.0, 0.1], "AUG.RE_PER_FRAME", True])
    cfg.merge_from_list(["DATA.MEAN", [1.0, 2.0, 3.0], "AUG.NUM_FIXED_CROPS", 5])
    transform = build_clip_transform(cfg, "train")
    assert names(transform)[2:] == [
        "RandomHorizontalFlip",
        "ImgaugRandAugment",
        "ColorJitter",
        "RandomErasing",
    ]
    assert transform.steps[1].num_fixed_crops == 5
    assert transform.steps[4].strengths == {"brightness": 0.4, "hue": 0.1}
    erasing = transform.steps[5]
    assert (erasing.p, erasing.mode, erasing.per_frame, erasing.mean) == (0.3, "const", True, (1.0, 2.0, 3.0))
    assert names(build_clip_transform(cfg, "val")) == ["ShortSideScale", "CenterCrop"]


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: create_tsn_train_transform(crop="corner"),
            "crop must be 'multi_scale', 'random_resized' or 'center', got 'corner'.",
        ),
        (lambda: create_test_transform(num_crops=5), "num_crops must be one of [1, 3, 10], got 5."),
    ],
)
def test_errors_name_the_argument_the_rule_and_the_value(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
