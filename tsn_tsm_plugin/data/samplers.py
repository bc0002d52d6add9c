"""Which videos a rank reads, in which order: shuffled and padded for training, exact for evaluation.

Both samplers are made for ``DataLoader(batch_sampler=...)``. They yield ``SampleKey``, so that a dataset can
derive its random numbers from the epoch and the video alone: what a clip looks like depends neither on the
worker or rank that reads it nor on where a run was resumed.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import Sampler

from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)


class SampleKey(NamedTuple):
    """One reading of one video: the epoch, from 0, and the position in the list, from 0."""

    epoch: int
    video_index: int


class ShardedBatchSampler(Sampler[list[SampleKey]]):
    """One rank's batches of an epoch, from any batch on.

    Args:
        num_videos: Length of the list.
        batch_size: Videos in a batch of this rank.
        world_size: Number of ranks.
        rank: This rank.
    """

    def __init__(self, num_videos: int, *, batch_size: int, world_size: int = 1, rank: int = 0) -> None:
        if num_videos < 1:
            raise ValueError(f"num_videos must be positive, got {num_videos}.")
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}.")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in [0, world_size={world_size}), got {rank}.")
        self.num_videos = num_videos
        self.batch_size = batch_size
        self.world_size = world_size
        self.rank = rank
        self.epoch = 0
        self.start_batch = 0

    def set_epoch(self, epoch: int, *, start_batch: int = 0) -> None:
        """Choose the epoch of the next iteration, and how many batches of it are left out at its start.

        A run that resumes in mid-epoch passes the number of batches it has already taken.
        """
        self.epoch = epoch
        self.start_batch = start_batch

    @abstractmethod
    def indices(self) -> list[int]:
        """Return this rank's videos in the order in which the whole epoch reads them."""

    def __len__(self) -> int:
        """Return the number of this rank's batches in a whole epoch, those left out included."""
        return (len(self.indices()) + self.batch_size - 1) // self.batch_size

    def __iter__(self) -> Iterator[list[SampleKey]]:
        keys = [SampleKey(self.epoch, index) for index in self.indices()]
        for start in range(self.start_batch * self.batch_size, len(keys), self.batch_size):
            yield keys[start : start + self.batch_size]


class TrainBatchSampler(ShardedBatchSampler):
    """Yield every video once per epoch in an order that depends on seed and epoch, in full batches.

    All ranks draw the same permutation. The epoch is padded with videos from its own start to a multiple of
    the global batch, ``batch_size * world_size``: ranks take equally many steps and no step is smaller than
    another. Step ``k`` of all ranks together holds the same videos whatever the number of ranks, as long as
    the global batch stays the same.

    Args:
        num_videos: Length of the list.
        batch_size: Videos in a batch of this rank.
        world_size: Number of ranks.
        rank: This rank.
        seed: Seed of the order; the same on all ranks.
    """

    def __init__(
        self, num_videos: int, *, batch_size: int, world_size: int = 1, rank: int = 0, seed: int = 0
    ) -> None:
        super().__init__(num_videos, batch_size=batch_size, world_size=world_size, rank=rank)
        self.seed = seed
        global_batch = batch_size * world_size
        self.num_padded = -num_videos % global_batch
        if self.num_padded and rank == 0:
            num_steps = (num_videos + self.num_padded) // global_batch
            logger.info(
                f"{num_videos} videos are padded by {self.num_padded} to {num_steps} steps of {global_batch}."
            )

    def indices(self) -> list[int]:
        """Return this rank's videos of the epoch, padding included."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.num_videos, generator=generator)
        num_total = self.num_videos + self.num_padded
        padded = order.repeat(num_total // self.num_videos + 1)[:num_total]
        return padded[self.rank :: self.world_size].tolist()


class EvalBatchSampler(ShardedBatchSampler):
    """Yield every video exactly once over all ranks, in list order; nothing is padded and nothing repeated.

    Rank ``r`` reads videos ``r, r + world_size, ...``. Ranks may have unequal numbers of batches, even none:
    gather their results, do not let them step together. The last batch may be smaller.
    """

    def indices(self) -> list[int]:
        """Return this rank's videos in list order."""
        return list(range(self.rank, self.num_videos, self.world_size))
