"""MovingAverage: an exponential moving average of the weights, tested in place of the network."""

import copy
import itertools

import torch
from torch import Tensor, nn


class MovingAverage:
    """Moving average of a network: ``decay * average + (1 - decay) * network``.

    Running statistics are averaged too; counters are copied. The first update copies the network.

    Args:
        model: The network.
        decay: Decay in [0, 1).

    Attributes:
        module: The averaged network, without gradients.
        num_updates: Number of updates, 0-dimensional, on the network's device.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.module = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay
        self.num_updates = torch.zeros((), dtype=torch.int64, device=next(model.parameters()).device)

    @torch.no_grad()
    def update(self, model: nn.Module, *, is_applied: Tensor) -> None:
        """Update the average after a step.

        Args:
            model: The network.
            is_applied: Whether the step was applied, on the device. Otherwise the average is unchanged.
        """
        pairs = list(zip(_tensors(self.module), _tensors(model), strict=True))
        averaged = [own for own, _ in pairs if own.is_floating_point()]
        followed = [other for own, other in pairs if own.is_floating_point()]
        share = torch.where(self.num_updates == 0, 1.0, 1.0 - self.decay) * is_applied
        torch._foreach_mul_(averaged, 1.0 - share)
        torch._foreach_add_(averaged, torch._foreach_mul(followed, share))
        counters = [own for own, _ in pairs if not own.is_floating_point()]
        if counters:
            torch._foreach_copy_(counters, [other for own, other in pairs if not own.is_floating_point()])
        self.num_updates += is_applied


def _tensors(module: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in itertools.chain(module.parameters(), module.buffers())]
