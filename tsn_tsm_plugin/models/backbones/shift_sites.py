"""Where the temporal shift goes in a 2D network: its residual blocks, found by their class.

Sources: the TSM reference code, ``ops/temporal_shift.py`` (ResNets, every second block of deep ones) and
``archs/mobilenet_v2.py`` (the expanding convolution of every inverted residual that adds its input);
MMAction2's ``MobileOneTSM`` (every block). The other families follow the rule of their relatives.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

# From this many blocks in `layer3` on (ResNet-101, ResNet-152), only every second block is shifted.
_DEEP_STAGE3 = 23


@dataclass(frozen=True)
class _Branch:
    """The residual branch of a block class.

    Attributes:
        first: Names; the first that is there is the first layer of the branch; "" is the whole block.
        adds_input: Attribute that says whether the block adds its input; "" if it always does.
        is_expanding: Whether only a 1x1 convolution counts as the first layer.
    """

    first: tuple[str, ...]
    adds_input: str = ""
    is_expanding: bool = False


_FIRST_CONV = _Branch(("conv1",))

# A class is known by its module and name, so that no family is imported before it is used.
_BRANCHES = {
    # ResNet and its relatives
    "torchvision.models.resnet.BasicBlock": _FIRST_CONV,
    "torchvision.models.resnet.Bottleneck": _FIRST_CONV,
    "timm.models.resnet.BasicBlock": _FIRST_CONV,
    "timm.models.resnet.Bottleneck": _FIRST_CONV,
    "timm.models.resnetv2.Bottleneck": _FIRST_CONV,
    "timm.models.resnetv2.PreActBasic": _FIRST_CONV,
    "timm.models.resnetv2.PreActBottleneck": _FIRST_CONV,
    "timm.models.res2net.Bottle2neck": _FIRST_CONV,
    "timm.models.resnest.ResNestBottleneck": _FIRST_CONV,
    "timm.models.sknet.SelectiveKernelBasic": _FIRST_CONV,
    "timm.models.sknet.SelectiveKernelBottleneck": _FIRST_CONV,
    "timm.models.byobnet.BasicBlock": _Branch(("conv1_kxk",)),
    "timm.models.byobnet.BottleneckBlock": _Branch(("conv1_1x1",)),
    # RegNet
    "torchvision.models.regnet.ResBottleneckBlock": _Branch(("f.a",)),
    "timm.models.regnet.Bottleneck": _FIRST_CONV,
    "timm.models.regnet.PreBottleneck": _FIRST_CONV,
    # MobileNet and EfficientNet
    "torchvision.models.mobilenetv2.InvertedResidual": _Branch(("conv.0",), "use_res_connect", True),
    "torchvision.models.mobilenetv3.InvertedResidual": _Branch(("block.0",), "use_res_connect", True),
    "torchvision.models.mnasnet._InvertedResidual": _Branch(("layers.0",), "apply_residual"),
    "torchvision.models.efficientnet.MBConv": _Branch(("block.0",), "use_res_connect", True),
    "torchvision.models.efficientnet.FusedMBConv": _Branch(("block.0",), "use_res_connect"),
    "timm.models._efficientnet_blocks.InvertedResidual": _Branch(("conv_pw",), "has_skip"),
    "timm.models._efficientnet_blocks.ConvBnAct": _Branch(("conv",), "has_skip"),
    "timm.models._efficientnet_blocks.EdgeResidual": _Branch(("conv_exp",), "has_skip"),
    "timm.models._efficientnet_blocks.UniversalInvertedResidual": _Branch(("dw_start", "pw_exp"), "has_skip"),
    "timm.models.byobnet.MobileOneBlock": _Branch(("",)),
    # ConvNeXt
    "torchvision.models.convnext.CNBlock": _Branch(("block.0",)),
    "timm.models.convnext.ConvNeXtBlock": _Branch(("conv_dw",)),
}


def find_shift_sites(network: nn.Module, shift_place: str) -> list[str]:
    """Return the dotted names of the submodules that see shifted features; none if no block is known.

    Args:
        network: A 2D network.
        shift_place: ``"blockres"``: the first layer of the residual branch, so that the identity is not
            shifted; in a ResNet with at least 23 blocks in ``layer3``, of the blocks with an even index in
            their stage. ``"block"``: every block as a whole.

    Raises:
        ValueError: If ``shift_place`` is neither.
    """
    if shift_place not in ("blockres", "block"):
        raise ValueError(f"shift_place must be 'blockres' or 'block', got {shift_place!r}.")
    blocks = list(_residual_blocks(network))
    if shift_place == "block":
        return [name for name, _ in blocks]
    stage3 = getattr(network, "layer3", None)
    if isinstance(stage3, nn.Sequential) and len(stage3) >= _DEEP_STAGE3:
        blocks = [(name, first) for name, first in blocks if int(name.rpartition(".")[2]) % 2 == 0]
    return [f"{name}.{first}".rstrip(".") for name, first in blocks]


def _residual_blocks(network: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the name of every block that adds its input, and the name of its first layer within it."""
    for name, module in network.named_modules():
        branch = _branch_of(module)
        if branch is None or (branch.adds_input and not getattr(module, branch.adds_input)):
            continue
        for first in branch.first:
            layer = module.get_submodule(first)
            if not isinstance(layer, nn.Identity) and _is_shiftable(layer, branch):
                yield name, first
                break


def _branch_of(module: nn.Module) -> _Branch | None:
    for cls in type(module).__mro__:
        branch = _BRANCHES.get(f"{cls.__module__}.{cls.__name__}")
        if branch is not None:
            return branch
    return None


def _is_shiftable(layer: nn.Module, branch: _Branch) -> bool:
    conv = next((module for module in layer.modules() if isinstance(module, nn.Conv2d)), None)
    if conv is None:
        return False
    if branch.is_expanding and conv.kernel_size != (1, 1):
        return False
    # A stem of residual blocks reads RGB: an eighth of three channels is none.
    return conv.in_channels > 3
