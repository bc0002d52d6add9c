"""BNInceptionBackbone, bn_inception: Inception with batch normalisation, the network of the TSN paper.

Source: Ioffe and Szegedy, "Batch Normalization", arXiv:1502.03167, appendix. All public weights come from a
Caffe network: parameters have Caffe's names, and convolutions keep a bias before the norm.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.models.backbones.imagenet_weights import load_imagenet_weights

# Channels of each block's four branches: 1x1; reduction and 3x3; reduction and two 3x3; pool projection.
_BLOCKS = {
    "3a": (64, (64, 64), (64, 96), 32),
    "3b": (64, (64, 96), (64, 96), 64),
    "4a": (224, (64, 96), (96, 128), 128),
    "4b": (192, (96, 128), (96, 128), 128),
    "4c": (160, (128, 160), (128, 160), 128),
    "4d": (96, (128, 192), (160, 192), 128),
    "5a": (352, (192, 320), (160, 224), 128),
    "5b": (352, (192, 320), (192, 224), 128),
}
# Channels of each downsampling block: reduction and 3x3; reduction and two 3x3. The pool has no projection.
_REDUCTIONS = {"3c": ((128, 160), (64, 96)), "4e": ((128, 192), (192, 256))}
_ORDER = ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b")


class BNInceptionBackbone(nn.Module):
    """BN-Inception up to its last feature map.

    Frames are RGB. The public weights expect BGR, so the network reverses the channel order.

    Attributes:
        num_features: Channels of the feature map.
    """

    num_features = 1024

    def __init__(self) -> None:
        super().__init__()
        self._add("conv1_7x7_s2", 3, 64, kernel=7, stride=2)
        self._add("conv2_3x3_reduce", 64, 64)
        self._add("conv2_3x3", 64, 192, kernel=3)
        channels = 192
        for name in _ORDER:
            channels = self._add_block(f"inception_{name}", channels, name)
        self.relu = nn.ReLU(inplace=True)
        self.pool_half = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.pool_mean = nn.AvgPool2d(3, stride=1, padding=1)
        self.pool_max = nn.MaxPool2d(3, stride=1, padding=1)

    def _add(self, name: str, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1) -> None:
        self.add_module(name, nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2))
        self.add_module(f"{name}_bn", nn.BatchNorm2d(outputs))

    def _add_block(self, block: str, inputs: int, name: str) -> int:
        stride = 2 if name in _REDUCTIONS else 1
        if name in _REDUCTIONS:
            single, double = _REDUCTIONS[name]
            one, pooled = 0, inputs
        else:
            one, single, double, pooled = _BLOCKS[name]
            self._add(f"{block}_1x1", inputs, one)
            self._add(f"{block}_pool_proj", inputs, pooled)
        self._add(f"{block}_3x3_reduce", inputs, single[0])
        self._add(f"{block}_3x3", *single, kernel=3, stride=stride)
        self._add(f"{block}_double_3x3_reduce", inputs, double[0])
        self._add(f"{block}_double_3x3_1", *double, kernel=3)
        self._add(f"{block}_double_3x3_2", double[1], double[1], kernel=3, stride=stride)
        return one + single[1] + double[1] + pooled

    def _run(self, name: str, x: Tensor) -> Tensor:
        return self.relu(self.get_submodule(f"{name}_bn")(self.get_submodule(name)(x)))

    def _run_block(self, name: str, x: Tensor) -> Tensor:
        block = f"inception_{name}"
        single = self._run(f"{block}_3x3", self._run(f"{block}_3x3_reduce", x))
        double = self._run(f"{block}_double_3x3_1", self._run(f"{block}_double_3x3_reduce", x))
        double = self._run(f"{block}_double_3x3_2", double)
        if name in _REDUCTIONS:
            return torch.cat([single, double, self.pool_half(x)], 1)
        pooled = self.pool_max(x) if name == "5b" else self.pool_mean(x)
        one, pooled = self._run(f"{block}_1x1", x), self._run(f"{block}_pool_proj", pooled)
        return torch.cat([one, single, double, pooled], 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map normalised frames (N, 3, H, W) or stacks to features (N, 1024, H / 32, W / 32)."""
        if x_NCHW.shape[1] % 3 == 0:
            x_NCHW = x_NCHW.unflatten(1, (-1, 3)).flip(2).flatten(1, 2)
        x_NCHW = self.pool_half(self._run("conv1_7x7_s2", x_NCHW))
        x_NCHW = self.pool_half(self._run("conv2_3x3", self._run("conv2_3x3_reduce", x_NCHW)))
        for name in _ORDER:
            x_NCHW = self._run_block(name, x_NCHW)
        return x_NCHW


def bn_inception(*, weights: str = "") -> BNInceptionBackbone:
    """Create BN-Inception: 1024 features.

    The blocks have no residual branches, so a TSM needs ``sites``. The convolutions that read the input of a
    block are ``["inception_*_1x1", "inception_*_reduce"]``.

    Args:
        weights: "" for random weights, or a public file, such as ``bn_inception-52deb4733.pth``.

    Raises:
        CheckpointError: If ``weights`` is not a file, or belongs to another network.
    """
    backbone = BNInceptionBackbone()
    load_imagenet_weights(backbone, name="bn_inception", weights=weights, fetch=_fetch)
    return backbone


def _fetch(name: str, weights: str) -> "OrderedDict[str, Tensor]":
    raise CheckpointError(
        f"Backbone weights of {name} must be a file, got {weights!r}. Fetch ImageNet weights with names of "
        "the Caffe network, such as bn_inception-52deb4733.pth, and give their path."
    )
