"""Storage behind a prefix that only iopath knows."""

from pathlib import Path
from typing import IO, Any

import pytest
from iopath.common.file_io import PathHandler, g_pathmgr


class Bucket(PathHandler):
    """Serves a folder as ``bucket://``, as cloud storage would.

    Attributes:
        error: Raised instead of fetching, as a library of such storage would.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.error: Exception | None = None

    def _get_supported_prefixes(self) -> list[str]:
        return ["bucket://"]

    def _get_local_path(self, path: str, force: bool = False, **_: Any) -> str:
        if self.error is not None:
            raise self.error
        return str(self.folder / path.removeprefix("bucket://"))

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **_: Any) -> IO[Any]:
        return Path(self._get_local_path(path)).open(mode)


def serve_bucket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Serve a folder as ``bucket://`` until the end of a test."""
    monkeypatch.setattr(g_pathmgr, "_path_handlers", dict(g_pathmgr._path_handlers))
    bucket = Bucket(folder)
    g_pathmgr.register_handler(bucket)
    return bucket
