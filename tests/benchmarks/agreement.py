"""Time that simulated ranks need to agree on a step; each message takes a given time."""

import queue
import threading
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from tsn_tsm_plugin.ranks import tree_sum

NUMBERS = 5  # Clips, and the votes on an empty batch, bad videos, a stop and a checkpoint.


@dataclass(frozen=True)
class Hops:
    """Seconds of a message between two ranks of a node, and of two nodes."""

    within: float
    between: float


class _SimulatedLinks:
    """Links of one rank. Time is counted, not spent: 1,536 ranks need no 1,536 cores."""

    def __init__(self, mailboxes: dict, lock: threading.Lock, rank: int, per_node: int, hops: Hops) -> None:
        self._mailboxes, self._lock, self._rank = mailboxes, lock, rank
        self._per_node, self._hops = per_node, hops
        self.clock = 0.0

    def _mailbox(self, source: int, target: int) -> queue.SimpleQueue:
        with self._lock:
            return self._mailboxes[source, target]

    def send(self, numbers: Tensor, rank: int) -> None:
        is_near = rank // self._per_node == self._rank // self._per_node
        arrival = self.clock + (self._hops.within if is_near else self._hops.between)
        self._mailbox(self._rank, rank).put((numbers.clone(), arrival))

    def receive(self, numbers: Tensor, rank: int) -> None:
        received, arrival = self._mailbox(rank, self._rank).get(timeout=60)
        numbers.copy_(received)
        self.clock = max(self.clock, arrival)


def simulate(num_ranks: int, *, per_node: int, hops: Hops) -> tuple[list[list[float]], float]:
    """Let ranks agree once along the engine's tree.

    Returns:
        The sums that each rank got, of ones and of rank numbers, and the seconds until the last had them.
    """
    mailboxes: dict = defaultdict(queue.SimpleQueue)
    lock, sums = threading.Lock(), [[0.0]] * num_ranks
    links = [_SimulatedLinks(mailboxes, lock, rank, per_node, hops) for rank in range(num_ranks)]

    def run(rank: int) -> None:
        numbers = torch.ones(NUMBERS, dtype=torch.float64)
        numbers[1] = rank
        tree_sum(numbers, links[rank], rank=rank, world_size=num_ranks)
        sums[rank] = numbers.tolist()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(num_ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sums, max(link.clock for link in links)


def agreement_table(counts: list[int], *, per_node: int, hops: Hops) -> list[str]:
    """Return a row for each number of ranks: milliseconds of the tree and of a ring."""
    lines = ["| ranks | tree | ring |", "| ---: | ---: | ---: |"]
    for num_ranks in counts:
        _, seconds = simulate(num_ranks, per_node=per_node, hops=hops)
        ring = 2 * (num_ranks - 1) * hops.between
        lines.append(f"| {num_ranks:,} | {1000 * seconds:.2f} ms | {1000 * ring:.2f} ms |")
    return lines
