"""to_channels_last: lay out the weights of a network as its features lie in memory."""

import torch
from torch import nn


def to_channels_last(network: nn.Module) -> nn.Module:
    """Convert the weights of 2D convolutions in place and return the network.

    Features are channels_last in any case; converted weights spare convolutions a copy. Functions that view
    weights as a vector, such as ``parameters_to_vector`` and LBFGS, need them as they were.

    Args:
        network: Any network. ``Module.to(memory_format=)`` refuses those with 3D convolutions.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return network
