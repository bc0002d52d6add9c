"""to_channels_last: give the weights of a network the memory format of its features."""

import torch
from torch import nn


def to_channels_last(network: nn.Module) -> nn.Module:
    """Convert the weights of 2D convolutions in place and return the network.

    Features are channels_last in any case; with converted weights, convolutions need no copy. Functions that
    view weights as a vector, such as ``parameters_to_vector`` and LBFGS, fail on converted weights.

    Args:
        network: Any network. ``Module.to(memory_format=)`` would refuse networks with 3D convolutions.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return network
