"""LrSchedule, steps_with_relative_lrs, cosine, polynomial: the learning rate as a function of the step."""

from collections.abc import Callable

from fvcore.common.param_scheduler import (
    CosineParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
)
from torch.optim import Optimizer


def steps_with_relative_lrs(
    *, num_epochs: int, steps: list[int], relative_lrs: list[float]
) -> ParamScheduler:
    """Return a schedule that holds ``relative_lrs[i]`` from epoch ``steps[i]`` on.

    Args:
        num_epochs: Epochs of the run, at least 1.
        steps: First epoch of each step, ascending from 0. Steps from ``num_epochs`` on are never reached.
        relative_lrs: One factor on the base learning rate per step.

    Raises:
        ValueError: If ``steps`` does not ascend from 0 or the lengths differ.
    """
    if not steps or steps[0] != 0 or any(a >= b for a, b in zip(steps, steps[1:], strict=False)):
        raise ValueError(f"steps must ascend from 0, got {list(steps)}.")
    if len(steps) != len(relative_lrs):
        raise ValueError(
            f"relative_lrs must have one factor per entry of steps {list(steps)}, got {list(relative_lrs)}."
        )
    milestones = [step for step in steps[1:] if step < num_epochs]
    values = list(relative_lrs[: len(milestones) + 1])
    # fvcore requires at least as many updates as values; one epoch per value satisfies this.
    return MultiStepParamScheduler(values, num_updates=num_epochs, milestones=milestones)


def cosine(*, num_epochs: int, end_factor: float = 0.0) -> ParamScheduler:
    """Return half a cosine from 1 to ``end_factor`` (Loshchilov and Hutter, SGDR, arXiv:1608.03983)."""
    return CosineParamScheduler(1.0, end_factor)


def polynomial(*, num_epochs: int, power: float = 1.0, end_factor: float = 0.0) -> Callable[[float], float]:
    """Return the decay from 1 to ``end_factor`` by a power of the remaining fraction of the run."""
    return lambda where: end_factor + (1.0 - end_factor) * (1.0 - where) ** power


class LrSchedule:
    """Base learning rate times decay times warm-up.

    With ``per_step`` false the factors change between epochs only, as in MMAction2: the decay sees the index
    of the epoch. A warm-up over ``W`` epochs from ``f`` gives epoch ``e < W`` the factor
    ``f + (1 - f) * e / (W - 1)``: .1, .325, .55, .775, 1 for ``W = 5``, ``f = .1``. With ``per_step`` true
    both see fractional epochs, as in SlowFast; the warm-up reaches 1 at the end of epoch ``W - 1``.

    Example:
        >>> decay = steps_with_relative_lrs(num_epochs=50, steps=[0, 20, 40], relative_lrs=[1.0, 0.1, 0.01])
        >>> schedule = LrSchedule(0.01, decay=decay, num_epochs=50, steps_per_epoch=100)
        >>> [round(schedule.lr_at(100 * epoch), 6) for epoch in (0, 19, 20, 40)]
        [0.01, 0.01, 0.001, 0.0001]

    Args:
        base_lr: Learning rate if all factors are 1.
        decay: Maps the completed fraction of the run, in [0, 1), to a factor.
        num_epochs: Epochs of the run.
        steps_per_epoch: Optimiser steps of one epoch.
        per_step: Whether factors also change within an epoch.
        warmup_epochs: Length of the linear warm-up; 0 is none.
        warmup_start_factor: Factor of the very first step.
        decay_after_warmup: Whether ``decay`` covers the epochs after the warm-up instead of all.
    """

    def __init__(
        self,
        base_lr: float,
        *,
        decay: Callable[[float], float],
        num_epochs: int,
        steps_per_epoch: int,
        per_step: bool = False,
        warmup_epochs: float = 0.0,
        warmup_start_factor: float = 0.1,
        decay_after_warmup: bool = False,
    ) -> None:
        self.base_lr = base_lr
        self.num_epochs = num_epochs
        self.steps_per_epoch = steps_per_epoch
        self.per_step = per_step
        self.warmup_epochs = warmup_epochs
        self._decay = decay
        # A warm-up over the whole run leaves no epochs to decay.
        self._decay_start = min(warmup_epochs, num_epochs - 1) if decay_after_warmup else 0.0
        self._warmup = LinearParamScheduler(warmup_start_factor, 1.0)

    def lr_at(self, step: int) -> float:
        """Return the learning rate of optimiser step ``step``, counted from 0 over the whole run."""
        epoch = step / self.steps_per_epoch if self.per_step else step // self.steps_per_epoch
        length = self.num_epochs - self._decay_start
        decay = self._decay(max(0.0, epoch - self._decay_start) / length)
        return self.base_lr * decay * self._warmup_factor(epoch)

    def _warmup_factor(self, epoch: float) -> float:
        if epoch >= self.warmup_epochs:
            return 1.0
        span = self.warmup_epochs if self.per_step else self.warmup_epochs - 1
        return self._warmup(epoch / span) if span > 0 else 1.0

    def set_lr_(self, optimizer: Optimizer, step: int) -> float:
        """Set the learning rate of every group for ``step``; return the rate of a group with factor 1."""
        lr = self.lr_at(step)
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("lr_mult", 1.0)
        return lr
