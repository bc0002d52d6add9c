"""What the ranks of a run tell each other besides gradients: small numbers, over a group on the CPU.

Numbers that travel over the GPUs' own group would make every rank wait for its GPU before each step.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist

from tsn_tsm_plugin import distributed
from tsn_tsm_plugin.errors import RunFolderError

_Result = TypeVar("_Result")


class Ranks:
    """The ranks of this run; a single process is its own only rank.

    Every rank must create it, and must call each method at the same point of its program.

    Attributes:
        rank: Rank of this process.
        world_size: Number of processes.
        is_main: Whether this process writes files and logs.
    """

    def __init__(self) -> None:
        self.rank = distributed.get_rank()
        self.world_size = distributed.get_world_size()
        self.is_main = self.rank == 0
        self._group = distributed.new_cpu_group()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Add up the values of all ranks, place by place."""
        total = torch.tensor(values, dtype=torch.float64)
        if self._group is not None:
            dist.all_reduce(total, group=self._group)
        return total.tolist()

    def gather(self, value: _Result) -> list[_Result]:
        """Return the picklable ``value`` of every rank, in rank order."""
        if self._group is None:
            return [value]
        values: list[_Result] = [value] * self.world_size
        dist.all_gather_object(values, value, group=self._group)
        return values

    def on_main(self, work: Callable[[], _Result]) -> _Result:
        """Let rank 0 do ``work`` and return its result on every rank.

        Raises:
            Exception: What ``work`` raised, on rank 0; on the other ranks a ``RunFolderError`` with its
                message, so that none of them waits for a rank that has gone.
        """
        result: _Result | None = None
        failure: Exception | None = None
        if self.is_main:
            try:
                result = work()
            except Exception as error:
                failure = error
        # An exception itself may not survive pickling; its message does.
        message, shared = self.gather((str(failure) if failure else "", result))[0]
        if failure is not None:
            raise failure
        if message:
            raise RunFolderError(message)
        return shared  # type: ignore[return-value]
