"""ResNet backbones: torchvision's networks up to their last feature map, and where TSM shifts them.

Sources: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385; the sites of the shift
are those of the TSM reference code, ``ops/temporal_shift.py``, function ``make_temporal_shift``.
"""

from typing import Any

from torch import Tensor
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from tsn_tsm_plugin.models.pretrained import load_imagenet_weights

_STAGES = ("layer1", "layer2", "layer3", "layer4")
# From this many blocks in stage 3 on (ResNet-101, ResNet-152), only every second block is shifted.
_DEEP_STAGE3 = 23


class ResNetBackbone(ResNet):
    """A torchvision ResNet that returns its last feature map; parameters keep torchvision's names.

    Args:
        block: Residual block of torchvision.
        layers: Number of blocks of the four stages.
        **options: As torchvision's ``ResNet``, e.g. ``groups``.

    Attributes:
        num_features: Channels of the feature map.
        temporal_pool_site: Name of the stage in front of which frames may be pooled.
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
        """Return the submodules that see shifted features.

        Args:
            shift_place: ``"blockres"``: the first convolution of a block, the identity is not shifted; in a
                deep network of every second block only. ``"block"``: every block as a whole.

        Raises:
            ValueError: If ``shift_place`` is neither.
        """
        if shift_place not in ("blockres", "block"):
            raise ValueError(f"shift_place must be 'blockres' or 'block', got {shift_place!r}.")
        blocks = [(stage, index) for stage in _STAGES for index in range(len(getattr(self, stage)))]
        if shift_place == "block":
            return [f"{stage}.{index}" for stage, index in blocks]
        period = 2 if len(self.layer3) >= _DEEP_STAGE3 else 1
        return [f"{stage}.{index}.conv1" for stage, index in blocks if index % period == 0]


def _create(
    name: str, block: type[BasicBlock | Bottleneck], layers: list[int], weights: str, **options: Any
) -> ResNetBackbone:
    backbone = ResNetBackbone(block, layers, **options)
    load_imagenet_weights(backbone, name=name, weights=weights)
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
