"""build_sized: create a backbone that takes frames of the wanted sizes, with an option if needed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from torch import nn

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.models.backbones.site_features import probe_sites

_Backbone = TypeVar("_Backbone", bound=nn.Module)


def build_sized(
    name: str,
    create: Callable[..., _Backbone],
    *,
    sizes: Sequence[int],
    options: dict[str, Any],
    size_options: Mapping[str, Callable[[int], Any]],
    takes_any: Sequence[str] = (),
) -> _Backbone:
    """Create a network that takes frames of these sizes.

    Args:
        name: Name of the network, for messages, such as ``"timm's vit_tiny_patch16_224"``.
        create: Function that creates the network from options. The network has the attribute ``input_size``,
            (3, H, W).
        sizes: Sides of the frames, in pixels; empty: the network's own size.
        options: Options that the user gave.
        size_options: Options for another size, in the order of trial, and their value for a side.
        takes_any: Names of the ``size_options`` that make the network take frames of any size.

    Raises:
        ConfigError: If the network does not take an option, or frames of these sizes.
    """
    sizes = sorted(set(sizes))
    backbone = create(**options)
    own_side = backbone.input_size[1]  # type: ignore[index]
    fault = "" if set(sizes) <= {own_side} and not options else _size_fault(backbone, sizes)
    if not fault:
        return backbone
    for option, value_of in size_options.items():
        if option in options or (len(sizes) > 1 and option not in takes_any):
            continue
        try:
            resized = create(**options, **{option: value_of(sizes[0])})
        except (ConfigError, AssertionError, ValueError, RuntimeError):  # Networks raise different errors.
            continue
        if not _size_fault(resized, sizes):
            return resized
    raise ConfigError(
        f"{name} must get frames of the size that it was built for, {own_side}x{own_side} pixels, got "
        f"{' and '.join(map(str, sizes))}: {fault} Set the crop sizes (DATA.TRAIN_CROP_SIZE, "
        f"DATA.TEST_CROP_SIZE) to {own_side}, or another size in the backbone's options."
    )


def _size_fault(backbone: nn.Module, sizes: Sequence[int]) -> str:
    """Return why a network cannot take frames of these sizes; ``""`` if it can."""
    for size in sizes:
        backbone.input_size = (3, size, size)  # type: ignore[assignment]
        try:
            probe_sites(backbone, ())
        except ValueError as error:
            return str(error).partition("input_size: ")[2]
    return ""
