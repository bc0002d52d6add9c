"""create_backbone: a registered backbone, or any classifier of torchvision or timm, by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from tsn_tsm_plugin.registry import BACKBONES, bind_arguments


def create_backbone(
    name: str,
    *,
    weights: str = "",
    options: Mapping[str, Any] | None = None,
    image_size: int | Sequence[int] = (),
) -> nn.Module:
    """Create the backbone of that name.

    Args:
        name: A registered name such as ``"resnet50"``, or ``"torchvision/NAME"`` or ``"timm/NAME"``.
        weights: "" for random weights, a name that the backbone knows, or a file.
        options: Keyword arguments of a registered backbone, of ``timm.create_model`` or of torchvision's
            function.
        image_size: Sides of the frames that a network of timm or torchvision must take, in pixels; empty: the
            network's own size.

    Returns:
        Module (N, 3, H, W) -> (N, num_features, h, w).

    Raises:
        UnknownComponentError: If there is no such backbone.
        CheckpointError: If the weights are not available, or belong to another network.
        ConfigError: If the backbone does not take an option.
        ValueError: If the network cannot take frames of these sizes.
    """
    library, _, library_name = name.partition("/")
    options = dict(options or {})
    sizes = (image_size,) if isinstance(image_size, int) else tuple(image_size)
    if library == "timm" and library_name:
        from tsn_tsm_plugin.models.backbones.timm import timm_backbone

        return timm_backbone(library_name, weights=weights, image_sizes=sizes, **options)
    if library == "torchvision" and library_name:
        from tsn_tsm_plugin.models.backbones.torchvision import torchvision_backbone

        return torchvision_backbone(library_name, weights=weights, image_sizes=sizes, **options)
    return bind_arguments(BACKBONES.get(name), f"backbone {name!r}", weights=weights, **options)()
