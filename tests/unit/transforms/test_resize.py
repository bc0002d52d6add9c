import numpy as np
import pytest
import torch

from tsn_tsm_plugin.transforms import ShortSideScale, resize

cv2 = pytest.importorskip("cv2", reason="the parity with OpenCV needs opencv-python-headless")


def noise(height: int, width: int, frames: int = 2) -> torch.Tensor:
    return torch.randint(
        256, (3, frames, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def opencv(video: torch.Tensor, height: int, width: int) -> torch.Tensor:
    frames = video.permute(1, 2, 3, 0).contiguous().numpy()
    resized = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in frames]
    return torch.from_numpy(np.stack(resized)).permute(3, 0, 1, 2)


SIZES = [(240, 320), (320, 240), (128, 171), (360, 640), (100, 176), (57, 33), (1, 1), (7, 300), (257, 256)]


@pytest.mark.parametrize("height, width", SIZES)
def test_short_side_scale_equals_opencv_to_the_bit(height, width):
    video = noise(height, width)
    scaled = ShortSideScale(128)(video)
    assert torch.equal(scaled, opencv(video, *scaled.shape[-2:]))


def test_resize_without_keeping_the_shape_equals_opencv_to_the_bit():
    video = noise(168, 256)
    assert torch.equal(resize(video, height=224, width=224), opencv(video, 224, 224))


@pytest.mark.parametrize("height, width", SIZES)
def test_the_fast_resize_is_at_most_one_level_away(height, width):
    video = noise(height, width)
    exact, fast = ShortSideScale(128)(video), ShortSideScale(128, exact=False)(video)
    assert (exact.int() - fast.int()).abs().max() <= 1


@pytest.mark.parametrize(
    "size, expected", [((240, 320), (256, 341)), ((320, 240), (341, 256)), ((256, 340), (256, 340))]
)
def test_the_long_side_is_rounded_to_the_nearest_pixel(size, expected):
    assert tuple(ShortSideScale(256)(noise(*size)).shape[-2:]) == expected


def test_a_frame_of_the_right_size_is_not_touched():
    video = noise(256, 340)
    assert ShortSideScale(256)(video) is video


def test_frames_in_any_memory_order_give_the_same_pixels():
    video = noise(60, 80)
    strided = video.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    assert torch.equal(ShortSideScale(32)(video), ShortSideScale(32)(strided))


def test_float_frames_are_refused():
    with pytest.raises(TypeError, match="video must be uint8 in 0-255, got torch.float32"):
        resize(torch.zeros(3, 1, 4, 4), height=2, width=2)


def test_a_size_below_one_is_refused():
    with pytest.raises(ValueError, match="size must be at least 1 pixel, got 0"):
        ShortSideScale(0)
