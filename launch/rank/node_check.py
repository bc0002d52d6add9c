"""fault_of_node, check_links, check_ring: check a node, its links and the process group before the work.

The nodes report broken links through files in the job's folder, because a broken network carries no reports.
"""

import contextlib
import datetime
import fcntl
import json
import os
import shutil
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.atomic_files import write_text_atomically
from tsn_tsm_plugin.errors import first_line

from ..errors import LaunchError
from .rendezvous import read_when_published

_SIOCGIFADDR = 0x8915

# Less space than one checkpoint of a large network needs.
_LEAST_FREE_BYTES = 1 << 30
# Remedies if the nodes are not connected and none of them can be blamed.
WAYS_ON = (
    "Submit the run again into its OUTPUT_DIR with `--exclude NODE`, with `--env GLOO_SOCKET_IFNAME=NAME` or "
    "with `--health-check 0`."
)


class UnhealthyNodeError(Exception):
    """Nodes on which the job cannot run.

    Attributes:
        nodes: Names of the nodes; empty if the bad node is unknown.
    """

    def __init__(self, message: str, nodes: list[str]) -> None:
        super().__init__(message)
        self.nodes = nodes


def fault_of_node(run_dir: Path, *, num_gpus: int) -> str:
    """Return why this node cannot run the job; empty if it can.

    Args:
        run_dir: The run folder.
        num_gpus: GPUs that the job requested on each node.

    Raises:
        LaunchError: If the node is not to blame: PyTorch lacks CUDA, or the run folder has no free space.
    """
    import torch
    from torch.distributed import ProcessGroupGloo

    if num_gpus and not torch.backends.cuda.is_built():
        raise LaunchError(
            f"PyTorch {torch.__version__} is built without CUDA, and --gpus-per-node is {num_gpus}. "
            "Install a build with CUDA, or use --gpus-per-node 0."
        )
    if num_gpus and torch.cuda.device_count() < num_gpus:
        return f"{torch.cuda.device_count()} of {num_gpus} GPUs are visible"
    try:
        for index in range(num_gpus):
            torch.ones(1, device=f"cuda:{index}").sum().item()
    except RuntimeError as error:
        return f"GPU {index} does not compute ({first_line(error)})"
    names = os.environ.get("GLOO_SOCKET_IFNAME", "")
    try:
        for name in filter(None, names.split(",")):
            ProcessGroupGloo.create_device(interface=name)
    except RuntimeError:
        return f"the network interface {name} of GLOO_SOCKET_IFNAME has no address"
    try:
        free = shutil.disk_usage(run_dir).free
    except OSError as error:
        return f"{run_dir} cannot be seen ({error.strerror})"
    if free < _LEAST_FREE_BYTES:
        raise LaunchError(
            f"{run_dir} has {free / 2**30:.2f} GiB free: make room for {_LEAST_FREE_BYTES >> 30} GiB."
        )
    return ""


def gloo_addresses() -> list[str]:
    """Return the addresses at which gloo listens on this node.

    They belong to the interfaces of ``GLOO_SOCKET_IFNAME``, otherwise to the host name. Without a usable
    address gloo listens on the loopback interface, which no other node reaches.
    """
    found = []
    names = os.environ.get("GLOO_SOCKET_IFNAME", "")
    for name in filter(None, names.split(",")):
        request = struct.pack("256s", name.encode())
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            found.append(socket.inet_ntoa(fcntl.ioctl(probe, _SIOCGIFADDR, request)[20:24]))
    if names:
        return found
    with contextlib.suppress(OSError):
        for family, *_, address in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM):
            with contextlib.suppress(OSError), socket.socket(family) as probe:
                probe.bind(address)
                return [str(address[0])]
    return ["127.0.0.1"]


def check_links(
    folder: Path,
    nodes: Sequence[str],
    index: int,
    *,
    addresses: Iterable[str],
    start_seconds: float,
    seconds: float,
) -> None:
    """Let every node connect to all nodes, itself included; one process of each node calls this function.

    Args:
        folder: Empty folder that all nodes see, created if missing.
        nodes: Names of the job's nodes.
        index: Index of this node. The first node reads the reports of all nodes.
        addresses: Addresses at which the other nodes must reach this node.
        start_seconds: Longest wait for a node to start.
        seconds: Time limit after the start of the last node.

    Raises:
        UnhealthyNodeError: On the first node, if a connection fails. The error names the nodes to blame, or
            no node if the bad node is unknown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    server = socket.create_server(("", 0), family=family, backlog=len(nodes), dualstack_ipv6=both)
    server.settimeout(start_seconds + seconds)
    threading.Thread(target=_answer, args=(server, nodes[index]), daemon=True).start()
    address = [list(dict.fromkeys(addresses)), server.getsockname()[1]]
    write_text_atomically(folder / f"{nodes[index]}.address", json.dumps(address))
    reach = partial(_can_reach, folder, start_seconds=start_seconds, seconds=seconds / 2)
    with ThreadPoolExecutor(len(nodes)) as pool:
        missed = [node for node, reached in zip(nodes, pool.map(reach, nodes), strict=True) if not reached]
    write_text_atomically(folder / f"{nodes[index]}.missed", json.dumps(missed))
    if index == 0:
        _raise_for_broken_links(folder, nodes, seconds)


def _answer(server: socket.socket, node: str) -> None:
    """Send the node's name to every caller; return after some time without callers."""
    with server, contextlib.suppress(TimeoutError):
        while True:
            with contextlib.suppress(ConnectionError), server.accept()[0] as link:
                link.sendall(node.encode())


def _can_reach(folder: Path, node: str, *, start_seconds: float, seconds: float) -> bool:
    """Return whether the node itself answers at each of its addresses."""
    published = read_when_published(folder / f"{node}.address", start_seconds)
    if published is None:
        return False
    addresses, port = published
    try:
        for address in addresses:
            with (
                socket.create_connection((address, port), seconds / len(addresses)) as link,
                link.makefile("rb") as answer,
            ):
                if answer.read(len(node) + 1) != node.encode():
                    return False
    except OSError:
        return False
    return True


def _raise_for_broken_links(folder: Path, nodes: Sequence[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds / 2
    reports = {
        node: read_when_published(folder / f"{node}.missed", deadline - time.monotonic()) for node in nodes
    }
    missed = {node: report for node, report in reports.items() if report is not None}
    broken = broken_links(missed)
    if not broken and len(missed) == len(nodes):
        return
    blamed = nodes_to_blame(nodes, missed)
    said = f"no connection between {', '.join(map(' and '.join, broken))}" if broken else "no answer"
    said += f" within {seconds:.0f} s (--health-check)"
    if blamed:
        raise UnhealthyNodeError(f"node {', '.join(blamed)} is not healthy: {said}", blamed)
    raise UnhealthyNodeError(f"{said}. The bad node is unknown. {WAYS_ON}", [])


def broken_links(missed: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Return the pairs of nodes of which one did not reach the other."""
    return sorted({(min(a, b), max(a, b)) for a in missed for b in missed[a] if a != b})


def nodes_to_blame(nodes: Sequence[str], missed: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the nodes to exclude so that all connections work; empty if more than half would go.

    Args:
        nodes: Names of the job's nodes.
        missed: By node, the nodes that it did not reach, possibly itself; without the nodes that are silent.
    """
    broken = broken_links(missed)
    blamed = set(nodes) - set(missed)
    blamed |= {node for pair in broken for node in pair if node in missed.get(node, [])}
    while left := [pair for pair in broken if blamed.isdisjoint(pair)]:
        counts = Counter(node for pair in left for node in pair)
        blamed |= {node for node, count in counts.items() if count == max(counts.values())}
    return sorted(blamed) if 2 * len(blamed) <= len(nodes) else []


def check_ring(seconds: float) -> None:
    """Let all ranks exchange a number over gloo, and over NCCL if that is their backend.

    Args:
        seconds: Time limit of each exchange.

    Raises:
        RuntimeError: If an exchange fails.
    """
    import torch
    import torch.distributed as dist

    limit = datetime.timedelta(seconds=seconds)
    group: Any = dist.new_group(backend="gloo", timeout=limit)
    dist.all_reduce(torch.ones(1), group=group)
    if dist.get_backend() == "nccl":
        number = torch.ones(1, device="cuda")
        dist.all_reduce(number, async_op=True).wait(limit)
