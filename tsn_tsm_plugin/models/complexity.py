"""Parameters and operations of a network, counted as the published tables count them.

A multiply-add is one operation, a batch normalisation two per output element; the classifier does not count.
That is the convention of MMAction2's tables (mmengine's counter on the backbone), by which ResNet-50 takes
4,109,364,224 operations for a frame of 224 x 224.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

# torch counts a multiply-add as two, so that everything here is counted twice and halved at the end.
_PER_MULTIPLY_ADD = 2
_PER_NORMALISED_ELEMENT = 2


def _normalisation(x_shape: torch.Size, *_: Any, **__: Any) -> int:
    return _PER_MULTIPLY_ADD * _PER_NORMALISED_ELEMENT * math.prod(x_shape)


_NORMALISATIONS = (
    torch.ops.aten.batch_norm,
    torch.ops.aten.native_batch_norm,
    torch.ops.aten.cudnn_batch_norm,
    torch.ops.aten._native_batch_norm_legit_no_training,
)


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a network.

    Attributes:
        num_parameters: Of the whole network, the classifier included.
        num_operations: Multiply-adds of the backbone for the frames that were asked for.
    """

    num_parameters: int
    num_operations: int


def measure_complexity(model: nn.Module, *, num_frames: int, size: int) -> Complexity:
    """Count a network's parameters and its operations for one crop of a video.

    Args:
        model: A TSN or TSM; on the meta device nothing is computed.
        num_frames: Frames of the crop; for TSM a multiple of the frames of a view.
        size: Side of a frame, in pixels.
    """
    device = next(model.parameters()).device
    frames = torch.empty(num_frames, 3, size, size, device=device)
    counter = FlopCounterMode(display=False, custom_mapping=dict.fromkeys(_NORMALISATIONS, _normalisation))
    was_training = model.training
    model.eval()
    with torch.inference_mode(), counter:
        model.backbone(frames)
    model.train(was_training)
    return Complexity(
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        num_operations=counter.get_total_flops() // _PER_MULTIPLY_ADD,
    )
