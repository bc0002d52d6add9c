"""Residual blocks whose convolutions also do the ReLU and the addition, for inference in bf16 on a CPU.

oneDNN applies both while a convolution's output is still in registers. PyTorch has its operators for
``torch.compile``; they work without it, which saves the minutes of compiling.
"""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck

from tsn_tsm_plugin.layers.replace import replace_submodule
from tsn_tsm_plugin.layers.temporal_shift import TemporalShift


class FusedResidualBlock(nn.Module):
    """A torchvision block after folding: the same names, and the same scores up to one rounding less.

    It adds to its input in place, so that the input is gone afterwards. For anything but bf16 in
    channels_last on a CPU, with gradients, and where the network is traced, compiled or exported, its parts
    run one by one.

    Args:
        block: Its normalisations are folded into its convolutions; not modified.
    """

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        super().__init__()
        self.conv1 = block.conv1
        self.conv2 = block.conv2
        self.conv3 = block.conv3 if isinstance(block, Bottleneck) else None
        self.downsample = block.downsample
        # The addition is fused in this format only.
        self.to(memory_format=torch.channels_last)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H / stride, W / stride)."""
        middle, last = ([], self.conv2) if self.conv3 is None else ([self.conv2], self.conv3)
        is_fused = _may_fuse(x_NCHW)
        y = self._first(x_NCHW, is_fused=is_fused)
        for convolution in middle:
            y = _convolve_relu(convolution, y) if is_fused else F.relu(convolution(y))
        identity = x_NCHW if self.downsample is None else self.downsample(x_NCHW)
        return _convolve_add_relu(last, y, identity) if is_fused else F.relu(last(y) + identity)

    def _first(self, x_NCHW: Tensor, *, is_fused: bool) -> Tensor:
        if is_fused and isinstance(self.conv1, TemporalShift) and isinstance(self.conv1.net, nn.Conv2d):
            return _convolve_relu(self.conv1.net, self.conv1.shift(x_NCHW))
        if is_fused and isinstance(self.conv1, nn.Conv2d):
            return _convolve_relu(self.conv1, x_NCHW)
        return F.relu(self.conv1(x_NCHW))


def fuse_residual_blocks_(network: nn.Module) -> None:
    """Replace, in place, the blocks of a bf16 network on a CPU whose normalisations are folded.

    Nothing is done where PyTorch was built without these operators.
    """
    blocks = {name: module for name, module in network.named_modules() if _is_folded_block(module)}
    if not blocks or not has_fused_convolutions():
        return
    for name, block in blocks.items():
        replace_submodule(network, name, FusedResidualBlock(block))


def _is_folded_block(module: nn.Module) -> bool:
    if type(module) not in (BasicBlock, Bottleneck):
        return False
    names = ("1", "2", "3") if isinstance(module, Bottleneck) else ("1", "2")
    convolutions = [module.get_submodule(f"conv{n}") for n in names]
    if isinstance(convolutions[0], TemporalShift):
        convolutions[0] = convolutions[0].net
    return (
        all(isinstance(module.get_submodule(f"bn{n}"), nn.Identity) for n in names)
        and all(_can_be_fused(convolution) for convolution in convolutions)
        and type(module.relu) is nn.ReLU
    )


def _can_be_fused(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and _is_bf16_on_cpu(module.weight)


def _is_bf16_on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype is torch.bfloat16


def _may_fuse(x: Tensor) -> bool:
    return (
        type(x) is Tensor
        and _is_bf16_on_cpu(x)
        and x.is_contiguous(memory_format=torch.channels_last)
        and has_fused_convolutions()
        and not (x.requires_grad and torch.is_grad_enabled())
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
    )


@cache
def has_fused_convolutions() -> bool:
    """Tell whether this PyTorch has the operators and this processor runs them in bf16."""
    x = torch.ones(1, 16, 2, 2, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    convolution = nn.Conv2d(16, 16, 1, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    convolution.requires_grad_(False)
    try:
        _convolve_add_relu(convolution, _convolve_relu(convolution, x), x)
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return True


def _convolve_relu(c: nn.Conv2d, x: Tensor) -> Tensor:
    return torch.ops.mkldnn._convolution_pointwise(
        x, c.weight, c.bias, c.padding, c.stride, c.dilation, c.groups, "relu", [], ""
    )


def _convolve_add_relu(c: nn.Conv2d, x: Tensor, sum_: Tensor) -> Tensor:
    """Add the convolution to ``sum_`` in place, and apply the ReLU to it."""
    return torch.ops.mkldnn._convolution_pointwise_.binary(
        sum_, x, c.weight, c.bias, c.padding, c.stride, c.dilation, c.groups, "add", 1.0, "relu", [], None
    )
