"""Models for ``torch.hub``, from a checkout of this repository.

    torch.hub.load("CHECKOUT", "tsm_r50", source="local", num_classes=174)
    torch.hub.load("CHECKOUT", "trained", "shared/motion_r18_8f/model.safetensors", source="local")

The package itself must be installed (``pip install -e CHECKOUT``).
"""

from typing import Any

from torch import nn

dependencies = ["torch", "torchvision", "tsn_tsm_plugin"]


def tsn_r50(pretrained: bool = False, **options: Any) -> nn.Module:
    """Create TSN ResNet-50; ``options`` as in ``tsn_tsm_plugin.create_tsn``, ``pretrained`` with ImageNet."""
    return _create("tsn", "resnet50", "IMAGENET1K_V2", pretrained, options)


def tsm_r50(pretrained: bool = False, **options: Any) -> nn.Module:
    """Create TSM ResNet-50; ``options`` as in ``tsn_tsm_plugin.create_tsm``, ``pretrained`` with ImageNet."""
    return _create("tsm", "resnet50", "IMAGENET1K_V1", pretrained, options)


def tsm_mobilenet_v2(pretrained: bool = False, **options: Any) -> nn.Module:
    """Create TSM MobileNetV2; ``causal=True`` for streams."""
    return _create("tsm", "mobilenet_v2", "IMAGENET1K_V1", pretrained, options)


def trained(weights: str, **options: Any) -> nn.Module:
    """Load a trained network from its checkpoint, safetensors file or run folder.

    Args:
        weights: Any path that iopath can open.
        **options: As in ``tsn_tsm_plugin.inference.trained_model.load_trained``.
    """
    from tsn_tsm_plugin.inference.trained_model import load_trained

    return load_trained(weights, **options).model


def _create(
    method: str, backbone: str, imagenet: str, pretrained: bool, options: dict[str, Any]
) -> nn.Module:
    from tsn_tsm_plugin import create_tsm, create_tsn

    create = {"tsn": create_tsn, "tsm": create_tsm}[method]
    return create(backbone=backbone, weights=imagenet if pretrained else "", **options)
