"""create_tsn_train_transform, create_test_transform: clip transforms from explicit arguments.

They are the counterparts of PyTorchVideo's ``create_video_transform`` for TSN and TSM. They map clip
dictionaries, as PyTorchVideo's ``transform=`` expects. Frames stay uint8: `Normalize` converts whole batches
to floats on the compute device.

    >>> from pytorchvideo.data import LabeledVideoDataset
    >>> from tsn_tsm_plugin.data.pytorchvideo_bridge import SparsePathHandler, WholeVideoSampler
    >>> from tsn_tsm_plugin.transforms import uniform_sampler
    >>> dataset = LabeledVideoDataset(
    ...     [("a.mp4", {"label": 3})],
    ...     WholeVideoSampler(),
    ...     transform=create_tsn_train_transform(),
    ...     decode_audio=False,
    ... )
    >>> dataset.video_path_handler = SparsePathHandler(uniform_sampler(8, mode="train"))

The handler reads only the sampled frames. Without the handler, the transform can sample frames:
``create_tsn_train_transform(sample_frames=SampleFrames(uniform_sampler(8, mode="train")))``.
"""

from collections.abc import Iterable, Sequence

from torch import nn

from tsn_tsm_plugin.registry import TRANSFORMS
from tsn_tsm_plugin.transforms.clip_transform import ClipTransform
from tsn_tsm_plugin.transforms.color_jitter import ColorJitter
from tsn_tsm_plugin.transforms.flip import RandomHorizontalFlip
from tsn_tsm_plugin.transforms.imgaug_augment import ImgaugRandAugment
from tsn_tsm_plugin.transforms.rand_augment import RandAugment
from tsn_tsm_plugin.transforms.random_crop import MultiScaleCrop, RandomResizedCrop
from tsn_tsm_plugin.transforms.random_erasing import RandomErasing
from tsn_tsm_plugin.transforms.resize import ShortSideScale
from tsn_tsm_plugin.transforms.segments import SampleFrames
from tsn_tsm_plugin.transforms.view_crop import CenterCrop, TenCrop, ThreeCrop

_VIEW_CROPS = {1: CenterCrop, 3: ThreeCrop, 10: TenCrop}


def create_tsn_train_transform(
    *,
    short_side: int = 256,
    crop_size: int = 224,
    crop: str = "multi_scale",
    crop_scales: Sequence[float] = (1.0, 0.875, 0.75, 0.66),
    num_fixed_crops: int = 13,
    flip_prob: float = 0.5,
    flip_label_pairs: Iterable[tuple[int, int]] = (),
    is_flow: bool = False,
    rand_augment: str = "",
    color_jitter: Sequence[float] = (),
    random_erasing: RandomErasing | None = None,
    sample_frames: SampleFrames | None = None,
) -> ClipTransform:
    """Create the training transform of TSN and TSM: scale, crop, flip and optional steps.

    The order follows the recipes: frames, short side, crop, flip, RandAugment, colour, erasing. Every
    random step draws once for all frames of a clip. Unlike PyTorchVideo's transform, the flip is applied with
    every crop.

    Args:
        short_side: Pixels of the frames' short side before the crop; 0 leaves the decoded size.
        crop_size: Side of the result, in pixels.
        crop: ``"multi_scale"``, ``"random_resized"`` or ``"center"``.
        crop_scales: See `MultiScaleCrop`.
        num_fixed_crops: See `MultiScaleCrop`.
        flip_prob: Probability of mirroring, in [0, 1].
        flip_label_pairs: Labels that a mirror turns into each other.
        is_flow: Whether channels are optical flow, x and y in turn; a mirror inverts x.
        rand_augment: ``""`` (none), ``"imgaug_default"`` (see `ImgaugRandAugment`), or a string of timm such
            as ``"rand-m9-mstd0.5-inc1"`` (see `RandAugment`).
        color_jitter: Up to four strengths: brightness, contrast, saturation, hue; see `ColorJitter`.
        random_erasing: The erasing step, if any.
        sample_frames: Sampler of frames, if the reader has not sampled them.

    Returns:
        A map from clips with ``video`` uint8 (C, T, H, W) to clips with (C, T', crop_size, crop_size).

    Raises:
        ValueError: If an argument is out of its range.
    """
    # Training uses the faster resize: augmentation changes pixels by more than one level anyway.
    steps: list[nn.Module] = [
        *_frames_and_scale(sample_frames, short_side, exact=False),
        _create_crop(crop, crop_size, crop_scales, num_fixed_crops),
    ]
    if flip_prob:
        steps.append(RandomHorizontalFlip(flip_prob, label_pairs=flip_label_pairs, is_flow=is_flow))
    if rand_augment:
        is_imgaug = rand_augment == "imgaug_default"
        steps.append(ImgaugRandAugment() if is_imgaug else RandAugment(rand_augment))
    if any(color_jitter):
        steps.append(ColorJitter(*color_jitter))
    if random_erasing is not None:
        steps.append(random_erasing)
    return ClipTransform(steps)


def create_test_transform(
    *,
    short_side: int = 256,
    crop_size: int = 224,
    num_crops: int = 1,
    is_flow: bool = False,
    sample_frames: SampleFrames | str | None = None,
    num_segments: int | None = None,
) -> ClipTransform:
    """Create the deterministic transform of validation and testing.

    Args:
        short_side: Pixels of the frames' short side, resized bit for bit as the references do; 0 leaves the
            decoded size.
        crop_size: Side of the crops, in pixels.
        num_crops: 1 (centre), 3 (along the longer side) or 10 (corners and centre, each mirrored). With 3,
            ``crop_size`` must be the short side.
        is_flow: See `create_tsn_train_transform`.
        sample_frames: Chooses the frames of the views if the reader has not: `TwiceSample`, `DenseViews`, or
            the name of a registered transform such as ``"twice_sample"`` or ``"dense_views"``.
        num_segments: Frames of one view; required with a name.

    Returns:
        A map from clips with ``video`` uint8 (C, T, H, W) to clips with (C, num_crops * T', crop_size,
        crop_size), crop-major.

    Raises:
        ValueError: If an argument is out of its range, or a name comes without ``num_segments``.
    """
    if num_crops not in _VIEW_CROPS:
        raise ValueError(f"num_crops must be one of {list(_VIEW_CROPS)}, got {num_crops}.")
    scale = _frames_and_scale(_test_frames(sample_frames, num_segments), short_side, exact=True)
    crop = TenCrop(crop_size, is_flow=is_flow) if num_crops == 10 else _VIEW_CROPS[num_crops](crop_size)
    return ClipTransform([*scale, crop])


def _test_frames(sample_frames: SampleFrames | str | None, num_segments: int | None) -> SampleFrames | None:
    if isinstance(sample_frames, str):
        if num_segments is None:
            raise ValueError(f"sample_frames={sample_frames!r} needs num_segments, the frames of one view.")
        named: SampleFrames = TRANSFORMS.get(sample_frames)(num_segments)
        return named
    if num_segments is not None:
        raise ValueError(f"num_segments={num_segments} goes with the name of a transform as sample_frames.")
    return sample_frames


def _create_crop(crop: str, size: int, scales: Sequence[float], num_fixed_crops: int) -> nn.Module:
    if crop == "multi_scale":
        return MultiScaleCrop(size, scales=scales, num_fixed_crops=num_fixed_crops)
    if crop == "random_resized":
        return RandomResizedCrop(size)
    if crop == "center":
        return CenterCrop(size)
    raise ValueError(f"crop must be 'multi_scale', 'random_resized' or 'center', got {crop!r}.")


def _frames_and_scale(sample_frames: SampleFrames | None, short_side: int, *, exact: bool) -> list[nn.Module]:
    steps: list[nn.Module] = [] if sample_frames is None else [sample_frames]
    return [*steps, ShortSideScale(short_side, exact=exact)] if short_side else steps
