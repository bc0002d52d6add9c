"""Partition, NodeKind, counted: the nodes of a cluster's partitions, and how many of them fit a job.

The nodes of one partition may differ. A job that needs GPUs runs on nodes with GPUs only, so only the CPUs of
these nodes count.
"""

import functools
import re
from dataclasses import dataclass

from ..errors import LaunchError
from . import slurm_client as slurm
from .options import minutes_of


@dataclass(frozen=True)
class NodeKind:
    """Nodes of a partition that are alike.

    Attributes:
        num_nodes: Number of nodes, including nodes that are down.
        cpus: CPUs of each node.
        gpus: GPUs of each node.
    """

    num_nodes: int
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Partition:
    """A partition of the cluster.

    Attributes:
        name: Name of the partition.
        is_default: Whether jobs without a partition run in this one.
        limit_minutes: Longest time of a job; 0: no limit.
        kinds: Nodes of the partition, at least one.
    """

    name: str
    is_default: bool
    limit_minutes: int
    kinds: tuple[NodeKind, ...]

    @property
    def num_nodes(self) -> int:
        """Number of nodes of all kinds, including nodes that are down."""
        return self.num_fitting(gpus=0, cpus=0)

    @property
    def gpu_counts(self) -> list[int]:
        """Different numbers of GPUs per node, the largest first."""
        return sorted({kind.gpus for kind in self.kinds}, reverse=True)

    def fitting(self, *, gpus: int, cpus: int) -> list[NodeKind]:
        """Return the kinds of nodes that have at least these GPUs and CPUs."""
        return [kind for kind in self.kinds if kind.gpus >= gpus and kind.cpus >= cpus]

    def num_fitting(self, *, gpus: int, cpus: int) -> int:
        """Return how many nodes have at least these GPUs and CPUs."""
        return sum(kind.num_nodes for kind in self.fitting(gpus=gpus, cpus=cpus))

    def most_gpus(self, num_nodes: int) -> int:
        """Return the largest number of GPUs that each of ``num_nodes`` nodes has.

        If too few nodes have GPUs, return the largest number of any node: a job that asks for too many GPU
        nodes is refused, not run without GPUs.
        """
        enough = [gpus for gpus in self.gpu_counts if self.num_fitting(gpus=gpus, cpus=0) >= num_nodes]
        return max(enough, default=0) or self.gpu_counts[0]

    def fewest_cpus(self, *, gpus: int, cpus: int) -> int:
        """Return the fewest CPUs of the nodes that have at least these GPUs and CPUs; 0 without any."""
        return min((kind.cpus for kind in self.fitting(gpus=gpus, cpus=cpus)), default=0)

    def nodes_in_words(self) -> str:
        """Return the nodes by their GPUs: ``4 nodes with 8 GPUs and 10 nodes without GPUs``."""
        groups = []
        for gpus in self.gpu_counts:
            num_nodes = sum(kind.num_nodes for kind in self.kinds if kind.gpus == gpus)
            has = f"with {counted(gpus, 'GPU')}" if gpus else "without GPUs"
            groups.append(f"{counted(num_nodes, 'node')} {has}")
        return " and ".join([", ".join(groups[:-1]), groups[-1]] if groups[1:] else groups)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 node``, ``2 nodes``, ``2 processes``."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


@functools.cache
def partitions() -> dict[str, Partition]:
    """Return the partitions that this user sees, by name; ask SLURM once.

    Raises:
        LaunchError: If SLURM does not answer, or lists no partition.
    """
    shown = slurm.ask("sinfo", "-h", "-e", "-o", "%P|%l|%D|%c|%G")
    if shown.returncode or not shown.stdout.strip():
        raise LaunchError(
            f"sinfo names no partition that this user may use: {shown.stderr.strip() or 'empty answer'}"
        )
    found: dict[str, Partition] = {}
    for line in shown.stdout.splitlines():
        word, limit, nodes, cpus, gres = line.split("|")
        name = word.rstrip("*")
        gpus = sum(int(count) for count in re.findall(r"gpu(?::[^:,()]+)?:(\d+)", gres))
        kind = NodeKind(int(nodes), cpus=int(cpus.rstrip("+")), gpus=gpus)
        found[name] = Partition(
            name=name,
            is_default=word.endswith("*"),
            limit_minutes=0 if limit == "infinite" else minutes_of(limit),
            kinds=(*(found[name].kinds if name in found else ()), kind),
        )
    return found


def chosen_partition(name: str) -> Partition | None:
    """Return the partition called ``name``; if ``name`` is empty, the default partition.

    ``None`` if there is no such partition, or no cluster.
    """
    known = {} if slurm.why_unavailable() else partitions()
    return known.get(name) if name else next((p for p in known.values() if p.is_default), None)
