"""local_path, read_text, read_bytes, open_regular: open every path that a user gives.

A path is local, or a URL such as ``s3://bucket/a.mp4``. A local path must be a regular file: reading a pipe
or a device could wait forever.
"""

import errno
import functools
import os
import re
import stat
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

from tsn_tsm_plugin.storage import manager_of

_T = TypeVar("_T")
NO_PATH = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
"""Characters that no path can hold: NUL, and incomplete characters (surrogates that stand for no byte)."""


def is_url(path: str) -> bool:
    """Return whether iopath opens the file, instead of this machine's file system."""
    return "://" in path


def join(folder: str | os.PathLike[str], name: str | os.PathLike[str]) -> str:
    """Return ``name`` below ``folder``; absolute names, names below ``~`` and URLs are unchanged."""
    folder, name = os.fspath(folder), os.fspath(name)
    if is_url(name) or name.startswith(("/", "~/")):
        return name
    if is_url(folder):
        return folder if not name else folder + "/" * (not folder.endswith("/")) + name
    if "//" in f"/{name}/" or "/./" in f"/{name}/":
        return str(Path(folder, name))
    return f"{_start_below(folder)}{name}"


@functools.lru_cache(maxsize=16)
def _start_below(folder: str) -> str:
    """Return the prefix of names below a folder; pathlib is slow for a million names."""
    return str(Path(folder, "x"))[:-1]


def printable(path: str | os.PathLike[str]) -> str:
    """Return a path as valid text: bytes of a name that are not UTF-8 become ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def local_path(path: str) -> str:
    """Return the path on this machine with ``~`` expanded; iopath fetches a URL first.

    Raises:
        OSError: If the file cannot be fetched.
    """
    return _fetched(path, manager_of(path).get_local_path) if is_url(path) else os.path.expanduser(path)  # noqa: PTH111


def read_text(path: str | os.PathLike[str], *, max_bytes: int = 1 << 31) -> str:
    """Return the text of a UTF-8 file; see :func:`read_bytes`.

    Raises:
        OSError: If the file cannot be read, is not a regular file, is too large, or is not UTF-8 text.
    """
    try:
        return read_bytes(path, max_bytes=max_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte {error.object[error.start]:#04x} at offset {error.start}"
        raise OSError(errno.EILSEQ, f"it is not UTF-8 text: {byte}", os.fspath(path)) from error


def read_bytes(path: str | os.PathLike[str], *, max_bytes: int = 1 << 31) -> bytes:
    """Return the content of a file.

    Args:
        path: Local path or URL.
        max_bytes: Largest size of a local file.

    Raises:
        OSError: If the file cannot be read, is not a regular file, or is too large.
    """
    path = os.fspath(path)
    if is_url(path):
        return _fetched(path, _read_url)
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise OSError(errno.EFBIG, f"it has {size} bytes and may have {max_bytes}", path)
        return file.read()


def open_regular(path: str) -> BufferedReader:
    """Open a file of this machine for reading; a pipe or a device, which may block, is refused.

    Raises:
        OSError: If there is no readable regular file; ``strerror`` has the reason.
    """
    if NO_PATH.search(path):
        raise OSError(errno.EINVAL, "the path holds NUL or an incomplete character", path)
    path = os.path.expanduser(path)  # noqa: PTH111
    file = open(path, "rb", opener=_without_waiting)  # noqa: PTH123, SIM115
    mode = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(mode):
        file.close()
        kind = "a named pipe" if stat.S_ISFIFO(mode) else "a device or a socket"
        raise OSError(errno.EINVAL, f"{kind} is not a regular file", path)
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read_url(path: str) -> bytes:
    with manager_of(path).open(path, "rb") as file:
        return file.read()


def _fetched(path: str, fetch: Callable[[str], _T]) -> _T:
    try:
        return fetch(path)
    except OSError:
        raise
    except Exception as error:  # Handlers raise any error of their storage's library.
        raise OSError(f"{path}: cannot be fetched ({error})") from error
