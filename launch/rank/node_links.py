"""gloo_addresses, check_links: find the node of a job that the other nodes cannot reach.

The nodes report through files in the job's folder, because a broken network carries no reports.
"""

import contextlib
import fcntl
import json
import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tsn_tsm_plugin.atomic_files import write_text_atomically

from .node_check import WAYS_ON, UnhealthyNodeError

_POLL_SECONDS = 0.1
_SIOCGIFADDR = 0x8915


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
    file = folder / f"{node}.address"
    if not _appears(file, time.monotonic() + start_seconds):
        return False
    addresses, port = json.loads(file.read_text(encoding="utf-8"))
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


def _appears(file: Path, deadline: float) -> bool:
    while not file.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _raise_for_broken_links(folder: Path, nodes: Sequence[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds / 2
    reports = {node: folder / f"{node}.missed" for node in nodes}
    heard = [node for node in nodes if _appears(reports[node], deadline)]
    missed = {node: json.loads(reports[node].read_text(encoding="utf-8")) for node in heard}
    broken = broken_links(missed)
    if not broken and len(heard) == len(nodes):
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
