"""Files by local path, or by a URL such as ``s3://bucket/a.mp4``."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tsn_tsm_plugin.storage import manager_of

_T = TypeVar("_T")


def is_url(path: str) -> bool:
    """Tell whether iopath is asked for the file, rather than this machine's file system."""
    return "://" in path


def join(folder: str | os.PathLike[str], name: str | os.PathLike[str]) -> str:
    """Return ``name`` below ``folder``; an absolute name or a URL stays as it is."""
    folder, name = os.fspath(folder), os.fspath(name)
    if is_url(name) or name.startswith("/"):
        return name
    if is_url(folder):
        return folder if not name else folder + "/" * (not folder.endswith("/")) + name
    return str(Path(folder, name))


def local_path(path: str) -> str:
    """Return where the file lies on this machine, fetched first if iopath has to.

    Raises:
        OSError: If it cannot be fetched.
    """
    return _fetched(path, manager_of(path).get_local_path) if is_url(path) else path


def read_bytes(path: str) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: If it cannot be read.
    """
    return _fetched(path, _read_url) if is_url(path) else Path(path).read_bytes()


def _read_url(path: str) -> bytes:
    with manager_of(path).open(path, "rb") as file:
        return file.read()


def _fetched(path: str, fetch: Callable[[str], _T]) -> _T:
    try:
        return fetch(path)
    except OSError:
        raise
    except Exception as error:  # Handlers raise what their storage's library raises.
        raise OSError(f"{path}: cannot be fetched ({error})") from error
