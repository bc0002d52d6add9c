"""checkpoint_activations: recompute the activations of blocks in the backward pass instead of keeping them.

Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174.
"""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from tsn_tsm_plugin.layers import NonLocalAfter


def checkpoint_activations(backbone: nn.Module, *, which: str = "all") -> int:
    """Make blocks of a backbone keep only their inputs for the backward pass.

    A block is an entry of an outermost ``nn.Sequential`` or ``nn.ModuleList``: the residual blocks of a
    ResNet, the stages of a Swin. Gradients and running statistics are the same as without checkpointing.

    Args:
        backbone: Backbone of a TSN or TSM, complete with its non-local blocks.
        which: ``"all"`` blocks, or ``"non_local"``: blocks followed by a non-local block, both as one unit.
            Checkpointing only the non-local block would still keep its input and its output.

    Returns:
        The number of blocks; 0 if the backbone has no such blocks.
    """
    blocks: list[nn.Module]
    if which == "non_local":
        blocks = [module for module in backbone.modules() if isinstance(module, NonLocalAfter)]
    else:
        blocks = list(_blocks(backbone))
    for block in blocks:
        block.forward = functools.partial(_forward, block, block.forward)  # type: ignore[method-assign]
    return len(blocks)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from (block for block in child if any(True for _ in block.parameters()))
        else:
            yield from _blocks(child)


def _forward(block: nn.Module, forward: Any, *args: Any) -> Any:
    if not block.training:
        return forward(*args)
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    contexts = functools.partial(_contexts, norms)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts)


def _contexts(norms: list[_BatchNorm]) -> tuple[Any, Any]:
    return contextlib.nullcontext(), _without_tracking(norms)


@contextlib.contextmanager
def _without_tracking(norms: list[_BatchNorm]) -> Iterator[None]:
    """Keep the recomputation out of the running statistics, which the first forward pass has updated."""
    counts = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
    before = [norm.momentum for norm in norms], [count.clone() for count in counts]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before[0], strict=True):
            norm.momentum = momentum
        for count, value in zip(counts, before[1], strict=True):
            count.copy_(value)
