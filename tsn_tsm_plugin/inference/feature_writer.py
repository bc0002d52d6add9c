"""FeatureFile: append rows of features to a ``.npy`` file."""

import contextlib
from pathlib import Path

import numpy as np

from tsn_tsm_plugin.atomic_files import UnfinishedFile, os_errors_as_run_folder_errors


class FeatureFile:
    """Append float32 rows to an array on disk; the rows of an hour may not fit into memory.

    Use it in a ``with`` block. The file appears at the end of the block. If the block raises or appends no
    row, an existing file is kept.

    Args:
        path: Path of the ``.npy`` file.

    Raises:
        RunFolderError: If the disk is full or the folder cannot be written; ``append`` raises it too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shape: tuple[int, ...] = ()
        self._unfinished = UnfinishedFile(path)
        self._file = self._unfinished.path.open("wb")

    def append(self, row: np.ndarray) -> None:
        """Append a row; all rows have the same shape."""
        with os_errors_as_run_folder_errors(self._path):
            if not self._shape:
                self._shape = (0, *row.shape)
                self._write_header()
            assert row.shape == self._shape[1:]
            self._shape = (self._shape[0] + 1, *row.shape)
            self._file.write(np.ascontiguousarray(row, dtype="<f4").tobytes())

    def _write_header(self) -> None:
        """Write the shape; NumPy's header has space for any number of rows."""
        self._file.seek(0)
        header = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> "FeatureFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None and self._shape:
                with os_errors_as_run_folder_errors(self._path):
                    self._write_header()
                    self._file.close()
                self._unfinished.keep()
        finally:
            with contextlib.suppress(OSError):
                self._file.close()
            self._unfinished.remove()
