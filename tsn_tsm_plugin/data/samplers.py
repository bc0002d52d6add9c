"""TrainBatchSampler, EvalBatchSampler, SampleKey: order of the videos of a rank in training and evaluation.

Both samplers fit ``DataLoader(batch_sampler=...)``. They yield ``SampleKey``, so that a dataset can derive
random numbers from the epoch and the video alone. A clip then depends neither on the worker or rank nor on
the step at which a run resumed.
"""

from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Sampler

from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)


class SampleKey(NamedTuple):
    """Key of reading one video once.

    Attributes:
        epoch: Number of the epoch, from 0.
        video_index: Position in the list, from 0.
        repeat: Number of earlier reads of the video in the epoch; each read draws a new augmentation.
    """

    epoch: int
    video_index: int
    repeat: int = 0


class ShardedBatchSampler(Sampler[list[SampleKey]]):
    """Yield one rank's batches of an epoch, starting at any batch.

    Args:
        num_videos: Length of the list.
        batch_size: Videos in a batch of this rank.
        world_size: Number of ranks.
        rank: Number of this rank.

    Attributes:
        num_read: Number of videos that all ranks together read in an epoch, including padding.
    """

    def __init__(self, num_videos: int, *, batch_size: int, world_size: int = 1, rank: int = 0) -> None:
        if num_videos < 1:
            raise ValueError(f"num_videos must be positive, got {num_videos}.")
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}.")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in [0, world_size={world_size}), got {rank}.")
        self.num_videos = self.num_read = num_videos
        self.batch_size = batch_size
        self.world_size = world_size
        self.rank = rank
        self.epoch = 0
        self.start_batch = 0

    def set_epoch(self, epoch: int, *, start_batch: int = 0) -> None:
        """Choose the epoch of the next iteration, and the number of batches to skip at its start.

        A run that resumes in mid-epoch passes the number of batches that it has already used.
        """
        self.epoch = epoch
        self.start_batch = start_batch

    @abstractmethod
    def order(self) -> Sequence[int]:
        """Return the videos of the epoch for all ranks; rank ``r`` reads items ``r::world_size``."""

    def __len__(self) -> int:
        """Return the number of this rank's batches in a whole epoch, including skipped batches."""
        return -(-len(range(self.rank, self.num_read, self.world_size)) // self.batch_size)

    def _keys(self) -> Iterator[SampleKey]:
        readings: Counter[int] = Counter()
        for index in self.order():
            yield SampleKey(self.epoch, index, readings[index])
            readings[index] += 1

    def __iter__(self) -> Iterator[list[SampleKey]]:
        keys = list(self._keys())[self.rank :: self.world_size]
        for start in range(self.start_batch * self.batch_size, len(keys), self.batch_size):
            yield keys[start : start + self.batch_size]


def balanced_order(
    labels: Sequence[int], num_drawn: int, generator: torch.Generator, *, power: float = 0.0
) -> Tensor:
    """Draw videos, in random order, with class frequencies in proportion to a power of the class sizes.

    The videos of a class come in random order, and none is repeated before all have been drawn. The number of
    draws of a class differs from its exact proportion by less than one; the rounding is random.

    Args:
        labels: Class of each video.
        num_drawn: Number of videos to draw.
        generator: Source of randomness.
        power: Exponent of the class size; 0 draws classes equally often, 1 videos equally often.

    Returns:
        Positions in ``labels``, int64, (num_drawn,).
    """
    members: defaultdict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        members[label].append(index)
    sizes = torch.tensor([len(videos) for videos in members.values()], dtype=torch.float64)
    weights = (sizes / sizes.max()) ** power
    shares = (num_drawn * weights / weights.sum()).round(decimals=9)
    counts = shares.floor()
    # Random factors break ties between equal remainders; a remainder of 0 comes last.
    remainders = (shares - counts) * torch.rand(len(shares), generator=generator, dtype=torch.float64)
    counts[remainders.argsort(descending=True)[: num_drawn - int(counts.sum())]] += 1
    drawn: list[int] = []
    for videos, num_wanted in zip(members.values(), counts.long().tolist(), strict=True):
        num_passes = -(-num_wanted // len(videos))
        passes = [torch.randperm(len(videos), generator=generator) for _ in range(num_passes)]
        in_turn = [videos[index] for one_pass in passes for index in one_pass.tolist()]
        drawn += in_turn[:num_wanted]
    order = torch.tensor(drawn)
    return order[torch.randperm(num_drawn, generator=generator)]


class TrainBatchSampler(ShardedBatchSampler):
    """Yield every video once per epoch in an order that depends on seed and epoch, in full batches.

    All ranks draw the same permutation. The epoch is padded with its first videos, or cut, to a multiple of
    the global batch size, ``batch_size * world_size``. All ranks take the same number of steps of equal size.
    For any number of ranks with the same global batch size, step ``k`` has the same videos.

    Args:
        num_videos, batch_size, world_size, rank: See `ShardedBatchSampler`.
        seed: Seed of the order; the same on all ranks.
        num_repeats: Number of passes of an epoch over the list, each in another order.
        balanced_labels: Class of each video, to draw every class equally often instead of every video once;
            the length of an epoch does not change.
        class_power: The ``power`` of `balanced_order`, used with ``balanced_labels``.
        drop_last: Cut the epoch instead of padding it; each epoch skips other videos.
    """

    def __init__(
        self,
        num_videos: int,
        *,
        batch_size: int,
        world_size: int = 1,
        rank: int = 0,
        seed: int = 0,
        num_repeats: int = 1,
        balanced_labels: Sequence[int] | None = None,
        class_power: float = 0.0,
        drop_last: bool = False,
    ) -> None:
        super().__init__(num_videos, batch_size=batch_size, world_size=world_size, rank=rank)
        if num_repeats < 1:
            raise ValueError(f"num_repeats must be positive, got {num_repeats}.")
        if balanced_labels is not None and len(balanced_labels) != num_videos:
            raise ValueError(
                f"balanced_labels must be num_videos = {num_videos} labels, got {len(balanced_labels)}."
            )
        self.seed = seed
        self.num_repeats = num_repeats
        self.balanced_labels, self.class_power = balanced_labels, class_power
        self._num_ordered = num_videos * num_repeats
        global_batch = batch_size * world_size
        num_steps = self._num_ordered // global_batch if drop_last else -(-self._num_ordered // global_batch)
        if not num_steps:
            raise ValueError(
                f"An epoch of {self._num_ordered} videos must fill one step of {global_batch} if the "
                f"rest is dropped. Pad it, or lower the batch size."
            )
        self.num_read = num_steps * global_batch
        if rank == 0:
            self._log_length(num_steps, global_batch)

    def _log_length(self, num_steps: int, global_batch: int) -> None:
        listed = f"{self._num_ordered} videos"
        if self.balanced_labels is not None:
            logger.info(f"An epoch draws {listed} by class.")
        elif self.num_repeats > 1:
            logger.info(f"An epoch reads {self.num_videos} videos {self.num_repeats} times.")
        num_padded = self.num_read - self._num_ordered
        steps = f"{num_steps} steps of {global_batch}"
        if num_padded > 0:
            logger.info(f"{listed} are padded by {num_padded} to {steps}.")
        elif num_padded < 0:
            logger.info(f"{listed} make {steps}; {-num_padded} are dropped, others in every epoch.")

    def order(self) -> list[int]:
        """Return the videos of the epoch, including padding."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        if self.balanced_labels is not None:
            order = balanced_order(self.balanced_labels, self._num_ordered, generator, power=self.class_power)
        else:
            passes = [torch.randperm(self.num_videos, generator=generator) for _ in range(self.num_repeats)]
            order = torch.cat(passes)
        return order.repeat(self.num_read // len(order) + 1)[: self.num_read].tolist()


class EvalBatchSampler(ShardedBatchSampler):
    """Yield every video exactly once over all ranks, in list order, without padding.

    Rank ``r`` reads videos ``r, r + world_size, ...``. Ranks may have unequal numbers of batches, even none:
    gather the results at the end; do not synchronise each step. The last batch may be smaller.
    """

    def order(self) -> range:
        """Return all videos in list order."""
        return range(self.num_videos)
