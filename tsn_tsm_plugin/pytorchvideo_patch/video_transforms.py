"""extend_create_video_transform, extend_get_augmentation: registered transforms by name, as ``aug_type``.

Training transforms replace PyTorchVideo's augmentation. Test transforms make the views of a video: samplers
replace ``UniformTemporalSubsample``, and crops replace the crop.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from tsn_tsm_plugin.errors import UnknownHostNameError
from tsn_tsm_plugin.registry import BATCH_TRANSFORMS, TRANSFORMS, load_target, nearest_or_known

_HOST_NAMES = ("default", "randaug", "augmix")
_FRAME_VIEWS = ("twice_sample", "dense_views")
_CROP_VIEWS = ("three_crop", "ten_crop")
# PyTorchVideo's argument for the size, if aug_paras do not set it.
_SIZES = {
    "center_crop": "crop_size",
    "multi_scale_crop": "crop_size",
    "random_resized_crop": "crop_size",
    "short_side_scale": "min_size",
}
_ON_LEVELS = "tsn_tsm_plugin.transforms.pixel_range:OnLevels"


def extend_create_video_transform(
    is_active: Callable[[], bool], host: Callable[..., Any]
) -> Callable[..., Any]:
    """Return ``create_video_transform`` with the names of `TRANSFORMS` for ``aug_type``."""
    signature = inspect.signature(host)

    @functools.wraps(host)
    def create_video_transform(*args: Any, **keywords: Any) -> Any:
        bound = signature.bind(*args, **keywords)
        bound.apply_defaults()
        options = dict(bound.arguments)
        if not is_active() or options["aug_type"] in _HOST_NAMES:
            return host(*args, **keywords)
        _check_name(options["aug_type"])
        return _create(host, options)

    return create_video_transform


def extend_get_augmentation(is_active: Callable[[], bool], host: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``_get_augmentation`` with our names, for earlier imports of ``create_video_transform``."""

    @functools.wraps(host)
    def _get_augmentation(aug_type: str, aug_paras: dict[str, Any] | None = None) -> Any:
        if not is_active() or aug_type in _HOST_NAMES:
            return host(aug_type, aug_paras)
        _check_name(aug_type)
        _check_is_for_training(aug_type)
        return [_on_levels(aug_type, dict(aug_paras or {}), {})]

    return _get_augmentation


def _check_is_for_training(name: str) -> None:
    if name in (*_FRAME_VIEWS, *_CROP_VIEWS):
        raise ValueError(
            f"aug_type={name!r} makes the views of a test, got mode='train': pass mode='val' or 'test'."
        )


def _check_name(name: Any) -> None:
    if name in TRANSFORMS.names():
        return
    if name in BATCH_TRANSFORMS.names():
        raise UnknownHostNameError(
            f"aug_type={name!r} mixes the clips of a batch, so it cannot be a transform of one clip: pass "
            f"DataLoader(collate_fn=tsn_tsm_plugin.transforms.MixCollate({name!r}, num_classes=K)), or call "
            "PyTorchVideo's MixVideo or ours on each batch."
        )
    names = sorted({*_HOST_NAMES, *TRANSFORMS.names()})
    hint = nearest_or_known(name, names)
    raise UnknownHostNameError(f"aug_type must be a known name, got {name!r}; {hint}.")


def _create(host: Callable[..., Any], options: dict[str, Any]) -> Any:
    from pytorchvideo.transforms import ApplyTransformToKey, RemoveKey
    from torchvision.transforms import Compose

    name, is_train = options["aug_type"], options["mode"] == "train"
    if is_train:
        _check_is_for_training(name)
    before, rest = _test_steps(name, options)
    if is_train:
        before = [*_subsample(options), _on_levels(name, dict(options["aug_paras"] or {}), options)]
        rest = {}
    key, removed = options["video_key"], options["remove_key"]
    plain = {"aug_type": "default", "aug_paras": None, "num_samples": None, "video_key": None}
    after = host(**{**options, **plain, "remove_key": None, **rest})
    transform = Compose([*before, after])
    if key is None:
        return transform
    return Compose([ApplyTransformToKey(key=key, transform=transform), *map(RemoveKey, removed or ())])


def _test_steps(name: str, options: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the transforms before PyTorchVideo's test steps, and its changed arguments."""
    paras = dict(options["aug_paras"] or {})
    if name in _FRAME_VIEWS:
        if options["num_samples"] is not None:
            paras.setdefault("num_segments", options["num_samples"])
        return [_on_levels(name, paras, options)], {}
    if name not in _CROP_VIEWS:
        # PyTorchVideo augments in training only.
        return _subsample(options), {}
    size = paras.setdefault("size", options["crop_size"])
    if not isinstance(size, int):
        raise ValueError(f"aug_type={name!r} cuts squares: crop_size must be one number, got {size!r}.")
    short_side = size if name == "three_crop" else max(size, options["min_size"])
    scale = _on_levels("short_side_scale", {"size": short_side}, options)
    return [*_subsample(options), scale, _on_levels(name, paras, options)], {
        "min_size": size,
        "crop_size": size,
    }


def _subsample(options: dict[str, Any]) -> list[Any]:
    from pytorchvideo.transforms import UniformTemporalSubsample

    count = options["num_samples"]
    return [] if count is None else [UniformTemporalSubsample(count)]


def _on_levels(name: str, paras: dict[str, Any], options: dict[str, Any]) -> Any:
    argument = _SIZES.get(name)
    if argument in options:
        paras.setdefault("size", options[argument])
    return load_target(_ON_LEVELS)(
        TRANSFORMS.create(name, options=paras, key="aug_paras"),
        are_scaled_after=options.get("convert_to_float", True),
        is_mean_in_levels=max(options.get("video_mean", (0,))) > 1,
    )
