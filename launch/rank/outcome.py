"""Outcome, first_failure, ...: how each rank of a job ended, in a file per rank, and the earliest failure.

When one rank dies, its peers fail too, with "connection closed by peer". The cause is the earliest error by
time, or a rank without an outcome that SLURM reports as killed.
"""

import contextlib
import json
import os
import re
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tsn_tsm_plugin.atomic_files import write_text_atomically

from ..cluster.slurm_client import numbers_in

FINISHED, STOPPED, RAISED, MISTAKEN = "finished", "stopped", "raised", "mistaken"
UNHEALTHY = "unhealthy"
FAILURES = (RAISED, MISTAKEN, UNHEALTHY)
# Exit status of a process ended by SIGTERM: srun sends it to a rank if another rank failed.
_TERMINATED = 143
_SRUN_LINE = re.compile(r"srun: error: (?P<node>\S+): tasks? (?P<ranks>[\d,\-]+): (?P<how>.+)")


@dataclass(frozen=True)
class Outcome:
    """The end of one rank in one start of a job.

    Attributes:
        rank: Global rank.
        node: Name of the machine; if ``UNHEALTHY``, the bad nodes, separated by commas, or empty if unknown.
        ending: ``FINISHED``; ``STOPPED`` on request, with a checkpoint; ``RAISED``; ``UNHEALTHY``: the node
            cannot run the job; or ``MISTAKEN``: starting again would fail again.
        error: The rank's exception, with the traceback unless it is a user error.
        time: Seconds since 1970.
    """

    rank: int
    node: str
    ending: str
    error: str = ""
    time: float = 0.0


def outcome_file(folder: Path, rank: int) -> Path:
    """Return the path of the outcome of a rank of the job in ``folder``."""
    return folder / f"rank_{rank}.json"


def write_outcome(folder: Path, rank: int, ending: str, *, error: str = "", node: str | None = None) -> None:
    """Record how this rank ended.

    Args:
        folder: The job's folder.
        rank: Global rank.
        ending: See :class:`Outcome`.
        error: See :class:`Outcome`.
        node: See :class:`Outcome`; by default this node.
    """
    if node is None:
        node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    outcome = Outcome(rank, node, ending, error, time.time())
    write_text_atomically(outcome_file(folder, rank), json.dumps(asdict(outcome)))


def note_cancellation(folder: Path) -> None:
    """Record that the user ended the job in ``folder``, possibly before a rank could write an outcome."""
    write_text_atomically(folder / "cancelled", time.ctime() + "\n")


def was_cancelled(folder: Path) -> bool:
    """Return whether the user ended the job in ``folder``."""
    return (folder / "cancelled").exists()


def was_stopped(folder: Path) -> bool:
    """Return whether rank 0 stopped on request, with a checkpoint."""
    return any(outcome.rank == 0 and outcome.ending == STOPPED for outcome in read_outcomes(folder))


def unhealthy_nodes(folder: Path) -> list[str]:
    """Return the nodes on which the job cannot run, as the ranks found before the work began."""
    found = (outcome.node.split(",") for outcome in read_outcomes(folder) if outcome.ending == UNHEALTHY)
    return sorted({node for nodes in found for node in nodes if node})


def lost_ranks(folder: Path, log: str, num_ranks: int) -> list[int]:
    """Return the ranks that left no outcome and that srun does not name: most likely their node is lost.

    Args:
        folder: The job's folder.
        log: Output of srun since the job's last start.
        num_ranks: Processes of the job.
    """
    known = {outcome.rank for outcome in read_outcomes(folder)}
    for match in _SRUN_LINE.finditer(log):
        known.update(numbers_in(match["ranks"]))
    return [rank for rank in range(num_ranks) if rank not in known]


def read_outcomes(folder: Path) -> list[Outcome]:
    """Return the outcomes in a job's folder, by rank."""
    found = []
    for file in folder.glob("rank_*.json"):
        with contextlib.suppress(FileNotFoundError):
            found.append(Outcome(**json.loads(file.read_text(encoding="utf-8"))))
    return sorted(found, key=lambda outcome: outcome.rank)


def killed_ranks(log: str) -> list[tuple[int, str, str]]:
    """Return the ranks that srun reports as failed, as (rank, node, how), in srun's order.

    Ranks that srun terminated because another rank failed are skipped.
    """
    found = []
    for match in _SRUN_LINE.finditer(log):
        how = match["how"].strip()
        if how.endswith(f"exit code {_TERMINATED}") or how.startswith("Terminated"):
            continue
        found += [(rank, match["node"], how) for rank in numbers_in(match["ranks"])]
    return found


def first_failure(folder: Path, log: str = "") -> Outcome | None:
    """Return the outcome that made a job fail, or ``None`` if no rank is known to have failed.

    Args:
        folder: The job's folder.
        log: Output of srun since the job's last start.
    """
    outcomes = {outcome.rank: outcome for outcome in read_outcomes(folder)}
    for rank, node, how in killed_ranks(log):
        if rank not in outcomes:
            return Outcome(rank, node, RAISED, f"{how}{_meaning(how)}")
    failed = [outcome for outcome in outcomes.values() if outcome.ending in FAILURES]
    return min(failed, key=lambda outcome: outcome.time, default=None)


def describe(outcome: Outcome, *, num_lines: int = 20) -> str:
    """Return the last lines of a failure under a headline with rank and node."""
    lines = outcome.error.rstrip().splitlines()[-num_lines:]
    place = f" on {outcome.node}" if outcome.node else ""
    return "\n".join([f"first error: rank {outcome.rank}{place}", *(f"  {line}" for line in lines)])


def _meaning(how: str) -> str:
    if "Killed" in how or "Out Of Memory" in how or how.endswith("exit code 137"):
        return " (out of memory, or somebody killed it: see `dmesg` on the node, try a larger --mem)"
    if "Segmentation fault" in how or how.endswith("exit code 139"):
        return " (a crash in compiled code: see the rank's own log)"
    if how.endswith("exit code 0"):
        return " (it left without a result)"
    return ""
