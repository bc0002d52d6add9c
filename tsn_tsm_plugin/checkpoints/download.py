"""download, is_reachable, without_hub_retries: files from the network, without long waits."""

import contextlib
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

from tsn_tsm_plugin.errors import CheckpointError

# Seconds without an answer after which a host counts as unreachable.
PATIENCE = 4.0


def download(url: str, *, sha256: str = "") -> Path:
    """Return a file from torch.hub's cache, downloaded at the first call.

    Args:
        url: Address of the file.
        sha256: First digits of the SHA-256 that the file must have; empty checks none.

    Raises:
        CheckpointError: If the file is not cached and cannot be downloaded, or has another hash.
    """
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not is_reachable(url):
            raise OSError(f"{urlparse(url).hostname} does not answer")
        with _short_waits():
            torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256 or None, progress=False)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is missing and could not be downloaded ({error}): fetch {url} on a "
            "machine with a network and put it there."
        ) from error
    return path


def is_reachable(url: str) -> bool:
    """Return whether the host of an address, or the proxy in front of it, accepts connections."""
    parts = urlparse(url)
    if parts.scheme not in ("http", "https"):
        return True
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        parts = urlparse(proxy if "://" in proxy else f"http://{proxy}")
    address = (parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443))
    answers: list[bool] = []

    def connect() -> None:
        with contextlib.suppress(OSError):
            socket.create_connection(address, timeout=PATIENCE).close()
            answers.append(True)

    # Use a thread: a DNS lookup has no time limit.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(answers)


@contextlib.contextmanager
def without_hub_retries() -> Iterator[None]:
    """Keep the Hugging Face client, which retries for a minute, to its cache if the hub does not answer."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not is_reachable(constants.ENDPOINT)
    try:
        with _short_waits():
            yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def _short_waits() -> Iterator[None]:
    """Bound the wait for every answer of the network within the block."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
