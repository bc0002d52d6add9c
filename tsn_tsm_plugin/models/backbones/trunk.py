"""TrunkBackbone, build_sized: an image classifier of a library, for frames of the wanted sizes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.models.backbones.shift_sites import find_shift_sites
from tsn_tsm_plugin.models.backbones.site_features import probe_sites


class TrunkBackbone(nn.Module):
    """An image classifier of timm or torchvision without its last layer; parameters are under ``trunk``.

    The library's own pooling handles tokens, channels-last maps and layers after the pooling. The library's
    classifier would see the same features.

    Args:
        trunk: Network that maps (N, 3, H, W) to (N, num_features).
        num_features: Number of features.
        size: Side of the frames that the network is built for, or their (H, W), in pixels.

    Attributes:
        input_size: (3, H, W) of these frames.
    """

    def __init__(self, trunk: nn.Module, *, num_features: int, size: int | Sequence[int]) -> None:
        super().__init__()
        self.trunk = trunk
        self.num_features = num_features
        height, width = (size, size) if isinstance(size, int) else size
        self.input_size = (3, height, width)

    @property
    def temporal_pool_site(self) -> str | None:
        """Name of the stage before which frames may be pooled; ``None`` if the stages have other names."""
        stages = [f"layer{number}" for number in (1, 2, 3, 4)]
        return "trunk.layer2" if all(hasattr(self.trunk, stage) for stage in stages) else None

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map normalised frames (N, 3, H, W) to pooled features (N, num_features, 1, 1)."""
        return self.trunk(x_NCHW)[:, :, None, None]

    def temporal_shift_sites(self, shift_place: str) -> list[str]:
        """See :func:`~tsn_tsm_plugin.models.backbones.shift_sites.find_shift_sites`."""
        return [f"trunk.{site}" for site in find_shift_sites(self.trunk, shift_place)]


def build_sized(
    name: str,
    create: Callable[..., TrunkBackbone],
    *,
    sizes: Sequence[int],
    options: dict[str, Any],
    size_options: Mapping[str, Callable[[int], Any]],
    takes_any: Sequence[str] = (),
) -> TrunkBackbone:
    """Create a network that takes frames of these sizes.

    Args:
        name: Name of the network, for messages, such as ``"timm's vit_tiny_patch16_224"``.
        create: Function that creates the network from options.
        sizes: Sides of the frames, in pixels; empty: the network's own size.
        options: Options that the user gave.
        size_options: Options for another size, in the order of trial, and their value for a side.
        takes_any: Names of the ``size_options`` that make the network take frames of any size.

    Raises:
        ConfigError: If the network does not take an option, or frames of these sizes.
    """
    sizes = sorted(set(sizes))
    backbone = create(**options)
    own_side = backbone.input_size[1]
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


def _size_fault(backbone: TrunkBackbone, sizes: Sequence[int]) -> str:
    """Return why a network cannot take frames of these sizes; ``""`` if it can."""
    for size in sizes:
        backbone.input_size = (3, size, size)
        try:
            probe_sites(backbone, ())
        except ValueError as error:
            return str(error).partition("input_size: ")[2]
    return ""
