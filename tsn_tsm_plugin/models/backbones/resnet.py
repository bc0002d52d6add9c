"""ResNetBackbone, resnet18, resnet50, ...: torchvision's ResNets up to their last feature map.

Sources: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385; Xie et al., "Aggregated
Residual Transformations for Deep Neural Networks" (ResNeXt), arXiv:1611.05431.
"""

from typing import Any

from torch import Tensor
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from tsn_tsm_plugin.models.backbones.imagenet_weights import (
    fetch_timm_weights,
    fetch_torchvision_weights,
    load_imagenet_weights,
)
from tsn_tsm_plugin.models.backbones.shift_sites import find_shift_sites


class ResNetBackbone(ResNet):
    """A torchvision ResNet that returns its last feature map; parameters keep torchvision's names.

    Args:
        block: Class of torchvision's residual block.
        layers: Number of blocks of the four stages.
        **options: Options of torchvision's ``ResNet``, e.g. ``groups``.

    Attributes:
        num_features: Channels of the feature map.
        temporal_pool_site: Name of the stage before which frames may be pooled.
    """

    temporal_pool_site = "layer2"

    def __init__(self, block: type[BasicBlock | Bottleneck], layers: list[int], **options: Any) -> None:
        super().__init__(block, layers, **options)
        self.num_features: int = self.fc.in_features
        del self.avgpool, self.fc

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map normalised frames (N, 3, H, W) to features (N, num_features, H / 32, W / 32)."""
        x_NCHW = self.maxpool(self.relu(self.bn1(self.conv1(x_NCHW))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x_NCHW))))

    def temporal_shift_sites(self, shift_place: str) -> list[str]:
        """See :func:`~tsn_tsm_plugin.models.backbones.shift_sites.find_shift_sites`."""
        return find_shift_sites(self, shift_place)


def _create(
    name: str, block: type[BasicBlock | Bottleneck], layers: list[int], weights: str, **options: Any
) -> ResNetBackbone:
    backbone = ResNetBackbone(block, layers, **options)
    load_imagenet_weights(backbone, name=name, weights=weights, fetch=fetch_torchvision_weights)
    return backbone


def resnet18(*, weights: str = "") -> ResNetBackbone:
    """Create ResNet-18: 512 features, 8 blocks."""
    return _create("resnet18", BasicBlock, [2, 2, 2, 2], weights)


def resnet34(*, weights: str = "") -> ResNetBackbone:
    """Create ResNet-34: 512 features, 16 blocks."""
    return _create("resnet34", BasicBlock, [3, 4, 6, 3], weights)


def resnet50(*, weights: str = "") -> ResNetBackbone:
    """Create ResNet-50: 2048 features, 16 blocks."""
    return _create("resnet50", Bottleneck, [3, 4, 6, 3], weights)


def resnet101(*, weights: str = "") -> ResNetBackbone:
    """Create ResNet-101: 2048 features, 33 blocks, 18 of them shifted."""
    return _create("resnet101", Bottleneck, [3, 4, 23, 3], weights)


def resnet152(*, weights: str = "") -> ResNetBackbone:
    """Create ResNet-152: 2048 features, 50 blocks, 26 of them shifted."""
    return _create("resnet152", Bottleneck, [3, 8, 36, 3], weights)


def resnext101_32x4d(*, weights: str = "") -> ResNetBackbone:
    """Create ResNeXt-101 32x4d: 2048 features, 33 blocks, 18 of them shifted.

    torchvision has no such weights: ``weights`` is a file, such as MMClassification's, or a tag of timm.
    """
    backbone = ResNetBackbone(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4)
    load_imagenet_weights(backbone, name="resnext101_32x4d", weights=weights, fetch=fetch_timm_weights)
    return backbone
