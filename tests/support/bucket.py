"""Bucket, serve_bucket: storage behind a prefix that only iopath knows."""

from pathlib import Path
from typing import IO, Any

import pytest
from iopath.common.file_io import PathHandler, g_pathmgr


class Bucket(PathHandler):
    """Serves a folder as ``bucket://``, as cloud storage would.

    Attributes:
        error: Error to raise instead of fetching, as a storage library would.
        fetched: Paths of the files that were fetched completely.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.error: Exception | None = None
        self.fetched: list[str] = []

    def _get_supported_prefixes(self) -> list[str]:
        return ["bucket://"]

    def _file(self, path: str) -> Path:
        if self.error is not None:
            raise self.error
        return self.folder / path.removeprefix("bucket://")

    def _get_local_path(self, path: str, force: bool = False, **_: Any) -> str:
        self.fetched.append(path)
        return str(self._file(path))

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **_: Any) -> IO[Any]:
        return self._file(path).open(mode)


def serve_bucket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Serve a folder as ``bucket://`` until the end of a test."""
    monkeypatch.setattr(g_pathmgr, "_path_handlers", dict(g_pathmgr._path_handlers))
    bucket = Bucket(folder)
    g_pathmgr.register_handler(bucket)
    return bucket
