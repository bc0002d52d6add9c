"""FusedResidualBlock: convolutions fused with ReLU and addition, for bf16 inference on a CPU.

oneDNN applies ReLU and addition while a convolution's output is still in registers. PyTorch has these
operators for ``torch.compile``; the operators also work without compiling.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck

from tsn_tsm_plugin.layers.temporal_shift import TemporalShift, is_traced


class FusedResidualBlock(nn.Module):
    """A torchvision block with folded normalisation, the same parameter names and one rounding less.

    The block overwrites its input. Only bf16 in channels_last on a CPU is fused. With gradients, and in a
    traced, compiled or exported network, the layers run separately.

    Args:
        block: Block with normalisations folded into the convolutions; not modified.
    """

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        super().__init__()
        self.conv1 = block.conv1
        self.conv2 = block.conv2
        self.conv3 = block.conv3 if isinstance(block, Bottleneck) else None
        self.downsample = block.downsample
        # oneDNN fuses the addition in this format only.
        self.to(memory_format=torch.channels_last)
        self._packed: dict[str, tuple[tuple[int, int], Tensor]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Exclude the packed weights, which can be neither copied nor pickled."""
        return self.__dict__ | {"_packed": {}}

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H / stride, W / stride)."""
        last = self.conv2 if self.conv3 is None else self.conv3
        if not _may_fuse(x_NCHW):
            y = F.relu(self.conv1(x_NCHW))
            y = y if self.conv3 is None else F.relu(self.conv2(y))
            identity = x_NCHW if self.downsample is None else self.downsample(x_NCHW)
            return F.relu(last(y) + identity)
        y = self._first(x_NCHW)
        if self.conv3 is not None:
            y = self._convolve("conv2", self.conv2, y, "relu")
        identity = x_NCHW
        if self.downsample is not None:
            identity = self._convolve("downsample", self.downsample[0], x_NCHW, "none")
        return self._convolve_onto(identity, last, y)

    def _first(self, x_NCHW: Tensor) -> Tensor:
        if isinstance(self.conv1, TemporalShift) and isinstance(self.conv1.net, nn.Conv2d):
            return self._convolve("conv1", self.conv1.net, self.conv1.shift(x_NCHW), "relu")
        if isinstance(self.conv1, nn.Conv2d):
            return self._convolve("conv1", self.conv1, x_NCHW, "relu")
        return F.relu(self.conv1(x_NCHW))

    def _convolve(self, name: str, convolution: nn.Conv2d, x: Tensor, activation: str) -> Tensor:
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._weight(name, convolution, x), *_geometry(convolution), activation, [], ""
        )

    def _convolve_onto(self, identity: Tensor, convolution: nn.Conv2d, x: Tensor) -> Tensor:
        """Add the convolution to ``identity`` in place, and apply the ReLU to the sum."""
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            identity,
            x,
            self._weight("last", convolution, x),
            *_geometry(convolution),
            "add",
            1.0,
            "relu",
            [],
            None,
        )

    def _weight(self, name: str, convolution: nn.Conv2d, x: Tensor) -> Tensor:
        """Return the weight in the kernel's layout for ``x``, cached between calls."""
        weight = convolution.weight
        if weight.is_inference():  # Inference tensors have no version counter.
            return weight
        version = weight.data_ptr(), weight._version
        kept = self._packed.get(name)
        if kept is None or kept[0] != version:
            _, padding, stride, dilation, groups = _geometry(convolution)
            packed = torch.ops.mkldnn._reorder_convolution_weight(
                weight.detach(), padding, stride, dilation, groups, list(x.shape)
            )
            kept = self._packed[name] = (version, packed)
        return kept[1]


def _geometry(c: nn.Conv2d) -> tuple[Any, ...]:
    return c.bias, c.padding, c.stride, c.dilation, c.groups


def fuse_residual_blocks_(network: nn.Module) -> None:
    """Replace, in place, the blocks with folded normalisations in a bf16 network on a CPU.

    The network is unchanged if PyTorch was built without these operators.
    """
    blocks = {name: module for name, module in network.named_modules() if _is_folded_block(module)}
    if not blocks or not has_fused_convolutions():
        return
    for name, block in blocks.items():
        network.set_submodule(name, FusedResidualBlock(block))


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
        and not is_traced()
    )


@cache
def has_fused_convolutions() -> bool:
    """Return whether this PyTorch has the operators and this processor runs them in bf16."""
    block = BasicBlock(16, 16, norm_layer=nn.Identity).bfloat16().requires_grad_(False)
    for convolution in (block.conv1, block.conv2):
        convolution.bias = nn.Parameter(torch.zeros(16, dtype=torch.bfloat16), requires_grad=False)
    x = torch.ones(1, 16, 4, 4, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    fused = FusedResidualBlock(block)
    try:
        fused._convolve_onto(x, block.conv2, fused._convolve("conv1", block.conv1, x, "relu"))
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return True
