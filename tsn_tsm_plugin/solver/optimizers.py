"""sgd, adamw, lars, timm_optimizer: optimisers over parameter groups with separate rates and decays."""

from collections.abc import Sequence
from typing import Any

import timm
import timm.optim
import torch
from timm.optim.lars import Lars
from torch.optim import Optimizer

from tsn_tsm_plugin.errors import UnknownComponentError

Groups = list[dict[str, Any]]


def sgd(
    param_groups: Groups,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    fused: bool = True,
    **options: Any,
) -> Optimizer:
    """Create torch's SGD; ``options`` are its further keywords. ``fused`` can skip a step on the device."""
    return torch.optim.SGD(param_groups, momentum=momentum, nesterov=nesterov, fused=fused, **options)


def adamw(
    param_groups: Groups, *, betas: Sequence[float] = (0.9, 0.999), fused: bool = True, **options: Any
) -> Optimizer:
    """Create torch's AdamW; ``options`` are its further keywords. ``fused`` can skip a step on the device."""
    beta1, beta2 = betas
    return torch.optim.AdamW(param_groups, betas=(beta1, beta2), fused=fused, **options)


def lars(param_groups: Groups, *, momentum: float = 0.9, nesterov: bool = False, **options: Any) -> Optimizer:
    """Create timm's LARS (You et al., arXiv:1708.03888); ``options`` are its further keywords."""
    return Lars(param_groups, momentum=momentum, nesterov=nesterov, **options)


def timm_optimizer(name: str, param_groups: Groups, **options: Any) -> Optimizer:
    """Create the optimiser of that name in timm, with timm's defaults.

    Args:
        name: Name in ``timm.optim.list_optimizers()``, such as ``"lamb"``.
        param_groups: Groups with ``params``, ``lr`` and ``weight_decay``.
        **options: Keywords of the optimiser.

    Raises:
        UnknownComponentError: If timm has no such optimiser.
    """
    names = timm.optim.list_optimizers()
    if name not in names:
        raise UnknownComponentError(
            f"timm {timm.__version__} has no optimizer {name!r}; it has: {', '.join(map(str, names))}."
        )
    return timm.optim.create_optimizer_v2(param_groups, opt=name, **options)
