"""Exponential moving average of the weights: a smoother copy of the network, tested in its place."""

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def average_weights(model: nn.Module, *, decay: float) -> AveragedModel:
    """Return a copy of a network that follows it by ``decay * copy + (1 - decay) * network``.

    Running statistics are averaged, too. Call its ``update_parameters(model)`` after every step.

    Args:
        model: The network.
        decay: In [0, 1).
    """
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    averaged.requires_grad_(False)
    return averaged
