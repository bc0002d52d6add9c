"""shift_block, tsm_bottleneck, ...: the temporal shift in PyTorchVideo's residual stages.

``keep_block``, ``shift_block`` and ``shift_block_non_local`` are named bottlenecks. PyTorchVideo builds a
network with its own blocks, of any kind; then each of them edits one block in place. Channel-separated,
(2+1)D and X3D blocks keep their type. ``tsm_bottleneck`` creates a block instead.

Source: Lin, Gan, Han, "TSM", ICCV 2019, arXiv:1811.08383; sites as in mit-han-lab's ``make_temporal_shift``
and ``make_non_local``.
"""

from collections.abc import Sequence
from typing import Any

from pytorchvideo.models.resnet import create_bottleneck_block
from torch import nn

from tsn_tsm_plugin.layers.non_local import NonLocal
from tsn_tsm_plugin.layers.temporal_shift import TemporalShift

# A network with a stage of this many blocks or more has a shift in every second block only.
_DEEP_STAGE = 23
# Non-local blocks follow every second block of the second and third stage.
_NON_LOCAL_STAGES = (1, 2)


def keep_block(block: nn.Module, *, index: int, stage: int | None, depths: Sequence[int]) -> nn.Module:
    """Return the residual block unchanged: only the network's own kernels mix frames."""
    return block


def shift_block(
    block: nn.Module,
    *,
    index: int,
    stage: int | None,
    depths: Sequence[int],
    shift_div: int = 8,
    causal: bool = False,
) -> nn.Module:
    """Shift the input of the first convolution of a residual block.

    Networks with a stage of 23 blocks or more have a shift in every second block, as the references do.

    Args:
        block: PyTorchVideo's ``ResBlock``; changed in place.
        index: Position in the stage.
        stage: Position of the stage; ``None`` if the caller named a bottleneck for this stage only.
        depths: Number of blocks of every stage.
        shift_div: One ``shift_div``-th of the channels is shifted each way.
        causal: Shift from the past only.

    Raises:
        ValueError: If the block has no convolution that can take a shift.
    """
    if max(depths) >= _DEEP_STAGE and index % 2:
        return block
    conv_a = getattr(getattr(block, "branch2", None), "conv_a", None)
    num_channels = getattr(conv_a, "in_channels", None)
    if not isinstance(conv_a, nn.Module) or num_channels is None:
        raise ValueError(
            f"The bottleneck 'tsm' shifts the input of conv_a, but {type(block).__name__} {index} of a stage "
            "has none: name another bottleneck for this stage."
        )
    if num_channels < shift_div:
        raise ValueError(
            f"The bottleneck 'tsm' shifts 1/{shift_div} of the channels, but block {index} of a stage has "
            f"{num_channels}: widen the network, or name the bottleneck 'tsn' for this stage."
        )
    block.get_submodule("branch2").conv_a = TemporalShift(conv_a, shift_div=shift_div, causal=causal)
    return block


def shift_block_non_local(
    block: nn.Module, *, index: int, stage: int | None, depths: Sequence[int]
) -> nn.Module:
    """Shift a residual block, and add a non-local block after every second block of the middle stages.

    Args:
        block: See `shift_block`.
        index: See `shift_block`.
        stage: See `shift_block`; ``None`` counts as a middle stage.
        depths: See `shift_block`.
    """
    shifted = shift_block(block, index=index, stage=stage, depths=depths)
    if index % 2 or (stage is not None and stage not in _NON_LOCAL_STAGES):
        return shifted
    conv_c = block.get_submodule("branch2.conv_c")
    assert isinstance(conv_c, nn.Conv3d), "the last convolution of PyTorchVideo's blocks"
    return nn.Sequential(shifted, NonLocal(conv_c.out_channels))


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
