"""set_precise_statistics: running statistics of batch norm as the mean over many batches.

Source: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", arXiv:2105.07576, section 3; fvcore's
    implementation.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import Tensor, nn

from tsn_tsm_plugin.ranks import Ranks


def set_precise_statistics(
    model: nn.Module,
    epoch: Callable[[], Iterable[dict[str, Any]]],
    *,
    normalize: nn.Module,
    device: torch.device,
    num_batches: int,
    ranks: Ranks,
) -> None:
    """Give every batch norm in train mode the mean of its statistics over batches of all ranks.

    Args:
        model: Network in train mode; its weights do not change.
        epoch: Returns the batches of this rank in an epoch, at each call.
        normalize: Maps uint8 to float.
        device: Device of the model.
        num_batches: Batches of this rank to use, at most the batches of an epoch.
        ranks: Ranks; all of them call this function.
    """

    def videos() -> Iterator[Tensor]:
        while True:  # Batches without a readable video do not count.
            for batch in epoch():
                if batch["video_name"]:
                    yield normalize(batch["video"].to(device))

    norms = get_bn_modules(model)
    buffers = [
        (norm, name, getattr(norm, name)) for norm in norms for name in ("running_mean", "running_var")
    ]
    update_bn_stats(model, videos(), num_iters=num_batches)
    for norm, name, buffer in buffers:
        statistic = getattr(norm, name)
        if ranks.world_size > 1:
            dist.all_reduce(statistic)
            statistic /= ranks.world_size
        # fvcore replaces the buffers; copy the values into the original tensors.
        buffer.copy_(statistic)
        setattr(norm, name, buffer)
