"""open_store, read_when_published, ...: how the ranks of a job find each other, by address and free port.

Host names of a cluster need not resolve on its compute nodes. A fixed or computed port may be taken. Rank 0
therefore listens on a port that the kernel picks and publishes address and port in the job's folder.
"""

import datetime
import json
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.atomic_files import write_text_atomically

from ..cluster import slurm_client as slurm
from ..errors import LaunchError

_POLL_SECONDS = 0.1


def master_address(hostname: str) -> tuple[str, str]:
    """Return an address of the first node and the rule that found it.

    The rules, in order: ``$LAUNCH_MASTER_ADDR``; the node's name if it resolves; the ``NodeAddr`` that SLURM
    knows; ``$SLURM_LAUNCH_NODE_IPADDR``; the name itself.
    """
    given = os.environ.get("LAUNCH_MASTER_ADDR")
    if given:
        return given, "LAUNCH_MASTER_ADDR"
    try:
        socket.getaddrinfo(hostname, None)
    except OSError:
        pass
    else:
        return hostname, "the node's name"
    known = _node_addr(hostname)
    if known:
        return known, "NodeAddr of scontrol"
    launching = os.environ.get("SLURM_LAUNCH_NODE_IPADDR")
    return (launching, "SLURM_LAUNCH_NODE_IPADDR") if launching else (hostname, "an unresolved name")


def open_store(
    file: Path,
    *,
    rank: int,
    world_size: int,
    hostname: str,
    timeout_seconds: float,
    is_hopeless: Callable[[], bool],
) -> tuple[Any, str]:
    """Return the ``TCPStore`` through which the process group is set up, and a line about it for the log.

    Args:
        file: File in which rank 0 publishes ``[address, port]``; every start of a job needs a new name.
        rank: Global rank of this process.
        world_size: Number of ranks.
        hostname: Name of the node that rank 0 runs on.
        timeout_seconds: Longest wait for the other ranks.
        is_hopeless: Returns whether a rank has failed, so that waiting is pointless.

    Raises:
        TimeoutError: If rank 0 publishes nothing in time, or has failed.
    """
    import torch.distributed as dist

    timeout = datetime.timedelta(seconds=timeout_seconds)
    if rank == 0:
        address, rule = master_address(hostname)
        store = dist.TCPStore(address, 0, world_size, is_master=True, timeout=timeout, wait_for_workers=False)
        write_text_atomically(file, json.dumps([address, store.port]))
        return store, f"rendezvous at {address}:{store.port} (address from {rule})"
    published = read_when_published(file, timeout_seconds, is_hopeless)
    if published is None:
        raise TimeoutError(
            f"rank 0 published no address in {file} within {timeout_seconds:.0f} s: it failed before, "
            f"or this node does not see that folder."
        )
    address, port = published
    store = dist.TCPStore(address, port, world_size, is_master=False, timeout=timeout)
    return store, f"rendezvous at {address}:{port}"


def read_when_published(
    file: Path, timeout_seconds: float, is_hopeless: Callable[[], bool] = lambda: False
) -> Any:
    """Return the JSON value that another process publishes in a file; ``None`` if it comes too late.

    Args:
        file: The file, which appears as a whole.
        timeout_seconds: Longest wait.
        is_hopeless: Returns whether waiting is pointless.
    """
    deadline = time.monotonic() + timeout_seconds
    while not file.exists():
        if time.monotonic() > deadline or is_hopeless():
            return None
        time.sleep(_POLL_SECONDS)
    return json.loads(file.read_text(encoding="utf-8"))


def _node_addr(hostname: str) -> str:
    try:
        shown = slurm.ask("scontrol", "show", "node", hostname, "-o").stdout
    except LaunchError:
        return ""
    match = re.search(r"NodeAddr=(\S+)", shown)
    return match[1] if match else ""
