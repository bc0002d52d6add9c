"""A real video through a whole test: frames, pixels and class probabilities as MMAction2 1.2.0 gives them."""

import json

import pytest
import torch
from support.golden import GOLDEN, GoldenModel

from tsn_tsm_plugin import VideoReader, create_tsm, create_tsn, load_weights, segment_indices
from tsn_tsm_plugin.transforms import CenterCrop, Normalize, ShortSideScale, TenCrop

EXPECTED = json.loads((GOLDEN / "end_to_end.json").read_text())
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def read_views(path, *, num_segments: int, crop: torch.nn.Module) -> tuple[list[int], torch.Tensor]:
    with VideoReader(path) as reader:
        indices = segment_indices(reader.num_frames, num_segments, mode="test")
        video = reader.read(indices).transpose(0, 1)
    return indices.tolist(), crop(ShortSideScale(256)(video))


def assert_agrees(expected: dict, indices: list[int], views: torch.Tensor, probability: torch.Tensor) -> None:
    assert indices == expected["indices"]
    crop_means = views.double().mean(dim=(0, 2, 3))
    torch.testing.assert_close(
        crop_means, torch.tensor(expected["crop_means"], dtype=torch.float64), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(probability, torch.tensor(expected["probability"]), atol=1e-7, rtol=0)
    assert probability.topk(5).indices.tolist() == expected["top5"]


@torch.inference_mode()
def test_tsm_with_one_centre_crop_agrees_with_the_reference(shared_videos):
    model = create_tsm(backbone="resnet50", num_segments=8).eval()
    load_weights(model, GoldenModel.read("models/tsm_r50_8f").state_dict())
    indices, views = read_views(shared_videos / "arm_wrestling.mp4", num_segments=8, crop=CenterCrop(224))
    probability = model(Normalize(MEAN, STD)(views[None])).softmax(1)[0]
    assert_agrees(EXPECTED["tsm_r50_8f_center"], indices, views, probability)


@pytest.mark.slow
@torch.inference_mode()
def test_tsn_with_25_frames_and_ten_crops_agrees_with_the_reference(shared_videos):
    model = create_tsn(backbone="resnet50", num_segments=3).eval()
    load_weights(model, GoldenModel.read("models/tsn_r50_3f").state_dict())
    indices, views = read_views(shared_videos / "arm_wrestling.mp4", num_segments=25, crop=TenCrop(224))
    crops = Normalize(MEAN, STD)(views[None]).split(25, dim=2)
    probability = torch.cat([model(crop) for crop in crops]).mean(0).softmax(0)
    assert_agrees(EXPECTED["tsn_r50_25f_ten_crop"], indices, views, probability)
