"""Find a backbone by name: a registered one, or any classifier of torchvision or timm."""

from torch import nn

from tsn_tsm_plugin.registry import BACKBONES


def create_backbone(name: str, *, weights: str = "") -> nn.Module:
    """Create the backbone of that name.

    Args:
        name: A registered name such as ``"resnet50"``, or ``"torchvision/NAME"`` or ``"timm/NAME"``.
        weights: "" for random ones, a name that the backbone knows, or a file.

    Returns:
        Module (N, 3, H, W) -> (N, num_features, h, w).

    Raises:
        UnknownComponentError: If there is no such backbone.
        CheckpointError: If the weights cannot be had, or belong to another network.
    """
    library, _, library_name = name.partition("/")
    if library == "timm" and library_name:
        from tsn_tsm_plugin.models.backbones.timm import timm_backbone

        return timm_backbone(library_name, weights=weights)
    if library == "torchvision" and library_name:
        from tsn_tsm_plugin.models.backbones.torchvision import torchvision_backbone

        return torchvision_backbone(library_name, weights=weights)
    return BACKBONES.get(name)(weights=weights)
