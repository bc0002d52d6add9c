"""Complexity, measure_complexity: parameters and multiply-adds, counted as in MMAction2's tables.

A multiply-add is one operation; a batch norm counts two per element, a layer norm five. The classifier does
not count. ResNet-50 thus takes 4,109,364,224 operations for a frame of 224 x 224. In non-local blocks, every
query with every key counts, whatever the implementation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tsn_tsm_plugin.layers.non_local import NonLocal

# torch counts a multiply-add as two operations; the totals are halved at the end.
_PER_MULTIPLY_ADD = 2
_aten = torch.ops.aten
_BATCH_NORMS = (
    _aten.batch_norm,
    _aten.native_batch_norm,
    _aten.cudnn_batch_norm,
    _aten._native_batch_norm_legit_no_training,
)
_CONVOLUTIONS = (_aten.convolution, _aten._convolution)


def _per_element(operations: int) -> Callable[..., int]:
    def count(x_shape: torch.Size, *_: Any, **__: Any) -> int:
        return _PER_MULTIPLY_ADD * operations * math.prod(x_shape)

    return count


_FORMULAS = {norm: _per_element(2) for norm in _BATCH_NORMS} | {
    norm: _per_element(5) for norm in (_aten.layer_norm, _aten.native_layer_norm)
}


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a network.

    Attributes:
        num_parameters: Parameters of the whole network, including the classifier.
        num_operations: Multiply-adds of the backbone for the given frames.
    """

    num_parameters: int
    num_operations: int


def measure_complexity(model: nn.Module, *, num_frames: int, size: int) -> Complexity:
    """Count a network's parameters and its operations for one crop of a video.

    Example:
        >>> import torch
        >>> from tsn_tsm_plugin import create_tsm
        >>> with torch.device("meta"):  # shapes only, no memory
        ...     model = create_tsm(backbone="resnet50", num_classes=400)
        >>> measure_complexity(model, num_frames=8, size=224)
        Complexity(num_parameters=24327632, num_operations=32874913792)

    Args:
        model: A TSN or TSM; on the meta device nothing is computed.
        num_frames: Frames of the crop; for TSM a multiple of the frames of a view.
        size: Side of a frame, in pixels.
    """
    device = next(model.parameters()).device
    frames = torch.empty(num_frames, getattr(model, "in_channels", 3), size, size, device=device)
    counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    backbone = model.get_submodule("backbone")
    attention = _AttentionByDefinition(backbone)
    was_training = model.training
    model.eval()
    with torch.inference_mode(), counter:
        backbone(frames)
    model.train(was_training)
    attention.close()
    return Complexity(
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        num_operations=counter.get_total_flops() // _PER_MULTIPLY_ADD + attention.correction(counter),
    )


class _AttentionByDefinition:
    """Count the products of queries, keys and values in a network's non-local blocks by their definition."""

    def __init__(self, network: nn.Module) -> None:
        self._root = type(network).__name__
        self._names = [name for name, module in network.named_modules() if isinstance(module, NonLocal)]
        self._num_operations = 0
        self._handles = [network.get_submodule(n).register_forward_hook(self._count) for n in self._names]

    def _count(self, block: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        batch, dim, frames, height, width = inputs[0].shape
        num_queries = frames * height * width
        num_keys = frames * (height // 2) * (width // 2) if block.sub_sample else num_queries
        query_width = dim if block.kind == "gaussian" else dim // 2
        self._num_operations += batch * num_queries * num_keys * (query_width + dim // 2)

    def correction(self, counter: FlopCounterMode) -> int:
        """Return the products by definition, minus the computed ones."""
        computed = 0
        for name in self._names:
            counts = counter.get_flop_counts()[f"{self._root}.{name}"]
            computed += sum(
                count for op, count in counts.items() if op not in (*_CONVOLUTIONS, *_BATCH_NORMS)
            )
        return self._num_operations - computed // _PER_MULTIPLY_ADD

    def close(self) -> None:
        """Remove the hooks from the network."""
        for handle in self._handles:
            handle.remove()
