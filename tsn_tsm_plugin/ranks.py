"""Ranks: values that the ranks of a run exchange besides gradients, over groups on the CPU.

Over the GPUs' own group, every rank would wait for its GPU before each step.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from tsn_tsm_plugin import distributed
from tsn_tsm_plugin.errors import RunFolderError

_Result = TypeVar("_Result")


class Links(Protocol):
    """Messages between ranks, which arrive in the order in which they were sent."""

    def send(self, numbers: Tensor, rank: int) -> None:
        """Send a tensor to a rank."""

    def receive(self, numbers: Tensor, rank: int) -> None:
        """Wait for a tensor of that shape from a rank and overwrite ``numbers`` with it."""


def tree_sum(numbers: Tensor, links: Links, *, rank: int, world_size: int) -> None:
    """Add up a tensor over all ranks, in place, along a binomial tree; every rank calls this function.

    A rank waits for at most ``2 * ceil(log2(world_size))`` messages in a row, instead of
    ``2 * (world_size - 1)`` in a ring. Launchers number ranks by node, so the lower levels stay in a node.

    Args:
        numbers: This rank's summands.
        links: Links to the other ranks.
        rank: This rank.
        world_size: Number of ranks.
    """
    span, received = 1, torch.empty_like(numbers)
    while span < world_size and not rank & span:
        if rank + span < world_size:
            links.receive(received, rank + span)
            numbers += received
        span *= 2
    if rank:
        links.send(numbers, rank - span)
        links.receive(numbers, rank - span)
    while span > 1:
        span //= 2
        if rank + span < world_size:
            links.send(numbers, rank + span)


class _GroupLinks:
    """Links of a gloo process group."""

    def __init__(self, group: Any) -> None:
        self._group = group

    def send(self, numbers: Tensor, rank: int) -> None:
        dist.send(numbers, rank, group=self._group)

    def receive(self, numbers: Tensor, rank: int) -> None:
        dist.recv(numbers, rank, group=self._group)


class _Courier:
    """A thread that runs submitted functions in order while the rank computes."""

    def __init__(self) -> None:
        self._errands: queue.SimpleQueue[tuple[Future, Callable[[], Any]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def send(self, work: Callable[[], _Result]) -> "Future[_Result]":
        future: Future[_Result] = Future()
        self._errands.put((future, work))
        if self._thread is None:
            # The thread may wait for a lost peer; a daemon thread does not delay the end of the process.
            self._thread = threading.Thread(target=self._run, daemon=True, name="exchange between ranks")
            self._thread.start()
        return future

    def _run(self) -> None:
        while True:
            future, work = self._errands.get()
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)


class Ranks:
    """The ranks of this run; a single process is the only rank.

    Every rank must create this object, and must call each method at the same point of the program.

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
        # Use a separate group: another thread exchanges sums while this thread may gather.
        self._links = _GroupLinks(distributed.new_cpu_group())
        self._courier = _Courier()

    def start_sum(self, values: Sequence[float]) -> "Future[list[float]]":
        """Start to add up the values of all ranks, element by element, while the caller computes.

        Returns:
            A future, whose ``result()`` waits for the sums. Sums finish in the order of their calls.
        """
        if self.world_size == 1:
            alone: Future[list[float]] = Future()
            alone.set_result([float(value) for value in values])
            return alone
        numbers = torch.tensor(values, dtype=torch.float64)

        def exchange() -> list[float]:
            tree_sum(numbers, self._links, rank=self.rank, world_size=self.world_size)
            return numbers.tolist()

        return self._courier.send(exchange)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Add up the values of all ranks, element by element."""
        return self.start_sum(values).result()

    def gather(self, value: _Result) -> list[_Result]:
        """Return the picklable ``value`` of every rank, in rank order."""
        return distributed.all_gather_object(value, group=self._group)

    def on_main(self, work: Callable[[], _Result]) -> _Result:
        """Let rank 0 do ``work`` and return the result on every rank.

        Raises:
            Exception: On rank 0, the exception of ``work``. On the other ranks, a ``RunFolderError`` with the
                same message: no rank waits for a lost rank.
        """
        result: _Result | None = None
        failure: Exception | None = None
        if self.is_main:
            try:
                result = work()
            except Exception as error:
                failure = error
        # Send the message: an exception may not survive pickling.
        message, shared = self.gather((str(failure) if failure else "", result))[0]
        if failure is not None:
            raise failure
        if message:
            raise RunFolderError(message)
        return shared  # type: ignore[return-value]
