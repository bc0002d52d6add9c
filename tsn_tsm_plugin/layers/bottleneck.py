"""tsm_bottleneck, tsm_bottlenecks: the temporal shift in ``create_resnet(bottleneck=)``.

Axes: B videos, C channels, T frames, H rows, W columns.
Source: Lin, Gan, Han, "TSM", ICCV 2019, arXiv:1811.08383, section 4 (residual shift).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from pytorchvideo.models.resnet import create_bottleneck_block
from torch import nn

from tsn_tsm_plugin.layers.temporal_shift import TemporalShift

# Blocks of the four stages; with at least _DEEP_STAGE3 blocks in stage 3, every second block is shifted.
_STAGE_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_DEEP_STAGE3 = 23


def tsm_bottleneck(*, shift_div: int = 8, causal: bool = False, **block: Any) -> nn.Module:
    """Create PyTorchVideo's bottleneck block with a first convolution that sees shifted features.

    The function fits ``create_resnet(bottleneck=tsm_bottleneck)`` and takes the keywords of PyTorchVideo's
    ``create_bottleneck_block``. The shift and the convolution are two modules: PyTorchVideo's transmuter
    would replace a ``Conv3d`` subclass and lose the shift. The convolution's weight is therefore
    ``conv_a.net.weight`` in the state dict of the block.

    ``create_resnet`` shifts every block this way. The references skip every second block of ResNet-101 and
    ResNet-152; use :func:`tsm_bottlenecks` for these depths.

    Example:
        >>> from pytorchvideo.models.resnet import create_resnet
        >>> network = create_resnet(bottleneck=tsm_bottleneck)
        >>> network.blocks[1].res_blocks[0].branch2.conv_a
        TemporalShift(
          num_segments=None, shift_div=8
          (net): Conv3d(64, 64, kernel_size=(1, 1, 1), stride=(1, 1, 1), bias=False)
        )

    Args:
        shift_div: One ``shift_div``-th of the channels is shifted each way.
        causal: Shift from the past only.
        **block: Keywords of ``create_bottleneck_block``.
    """
    create_conv_a = block.pop("conv_a", nn.Conv3d)

    def create_shifted_conv_a(**conv: Any) -> nn.Module:
        return TemporalShift(create_conv_a(**conv), shift_div=shift_div, causal=causal)

    return create_bottleneck_block(conv_a=create_shifted_conv_a, **block)


class _EverySecondBottleneck:
    """Create the blocks of a stage: the first is shifted, then every second one.

    A block that changes the width counts as the first of a stage, even if the previous stage is incomplete.
    """

    def __init__(self, create_shifted: Callable[..., nn.Module]) -> None:
        self.create_shifted = create_shifted
        self.is_shifted = False

    def __call__(self, *, dim_in: int, dim_out: int, **block: Any) -> nn.Module:
        self.is_shifted = dim_in != dim_out or not self.is_shifted
        create = self.create_shifted if self.is_shifted else create_bottleneck_block
        return create(dim_in=dim_in, dim_out=dim_out, **block)


def tsm_bottlenecks(
    model_depth: int, *, shift_div: int = 8, causal: bool = False
) -> tuple[Callable[..., nn.Module], ...]:
    """Return the ``bottleneck`` argument of ``create_resnet`` for a TSM: one function per stage.

    The sites follow the references: every block of ResNet-50, and the blocks with an even index within their
    stage in ResNet-101 and ResNet-152.

    Args:
        model_depth: 50, 101 or 152, as given to ``create_resnet``.
        shift_div: One ``shift_div``-th of the channels is shifted each way.
        causal: Shift from the past only.

    Raises:
        ValueError: If ``create_resnet`` has no such depth.
    """
    if model_depth not in _STAGE_DEPTHS:
        raise ValueError(f"model_depth must be one of {sorted(_STAGE_DEPTHS)}, got {model_depth}.")
    depths = _STAGE_DEPTHS[model_depth]
    create_shifted = partial(tsm_bottleneck, shift_div=shift_div, causal=causal)
    if depths[2] < _DEEP_STAGE3:
        return (create_shifted,) * len(depths)
    return tuple(_EverySecondBottleneck(create_shifted) for _ in depths)
