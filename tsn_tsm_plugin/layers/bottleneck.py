"""tsm_bottleneck: the temporal shift in ``create_resnet(bottleneck=)``.

Axes: B videos, C channels, T frames, H rows, W columns.
Source: Lin, Gan, Han, "TSM", ICCV 2019, arXiv:1811.08383, section 4 (residual shift).
"""

from typing import Any

from pytorchvideo.models.resnet import create_bottleneck_block
from torch import nn

from tsn_tsm_plugin.layers.temporal_shift import TemporalShift


def tsm_bottleneck(*, shift_div: int = 8, causal: bool = False, **block: Any) -> nn.Module:
    """Create PyTorchVideo's bottleneck block with a first convolution that sees shifted features.

    The function fits ``create_resnet(bottleneck=tsm_bottleneck)`` and takes the keywords of PyTorchVideo's
    ``create_bottleneck_block``. The shift and the convolution are two modules: PyTorchVideo's transmuter
    would replace a ``Conv3d`` subclass and lose the shift. The convolution's weight is therefore
    ``conv_a.net.weight`` in the state dict of the block.

    ``create_resnet`` shifts every block this way. The references skip every second block of ResNet-101 and
    ResNet-152; use ``create_resnet(bottleneck="tsm")`` for these depths.

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
