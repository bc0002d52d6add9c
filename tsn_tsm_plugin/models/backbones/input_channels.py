"""set_input_channels: a first convolution for stacks of flow fields or frames instead of one RGB frame.

Source: Wang et al., "Temporal Segment Networks", arXiv:1608.00859, section 3.2 (cross-modality).
"""

from torch import nn

RGB_CHANNELS = 3


def set_input_channels(network: nn.Module, num_channels: int, *, is_trained: bool) -> None:
    """Change the number of input channels of a network's first convolution, in place.

    A trained kernel is averaged over R, G and B, and the mean is repeated for every channel.

    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3))
        >>> mean = network[0].weight.mean(1)
        >>> set_input_channels(network, 10, is_trained=True)
        >>> network(torch.rand(1, 10, 4, 4)).shape, torch.equal(network[0].weight[:, 9], mean)
        (torch.Size([1, 8, 2, 2]), True)

    Args:
        network: Network that takes RGB frames (N, 3, H, W).
        num_channels: Channels of the stacks; 3 leaves the network unchanged.
        is_trained: Whether the kernel holds trained weights; otherwise it is initialised again.

    Raises:
        ValueError: If the network has no convolution of RGB frames.
    """
    if num_channels == RGB_CHANNELS:
        return
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.in_channels != RGB_CHANNELS or first.groups != 1:
        raise ValueError(
            f"{type(network).__name__} must start with a convolution of 3 channels to take {num_channels} "
            "channels of flow or differences. Use another backbone."
        )
    weight = first.weight.detach()
    if is_trained:
        kernel = weight.mean(dim=1, keepdim=True).repeat(1, num_channels, 1, 1)
    else:
        kernel = weight.new_empty(weight.shape[0], num_channels, *weight.shape[2:])
        nn.init.kaiming_normal_(kernel, mode="fan_out", nonlinearity="relu")
    first.in_channels = num_channels
    first.weight = nn.Parameter(kernel.contiguous())
    input_size = getattr(network, "input_size", None)
    if input_size is not None:
        network.input_size = (num_channels, *tuple(input_size)[1:])  # type: ignore[assignment]
