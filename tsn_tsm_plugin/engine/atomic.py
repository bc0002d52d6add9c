"""Files that are either whole or absent, whatever happens while they are written."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tsn_tsm_plugin.errors import RunFolderError

# The cure where the file is one of a run folder.
OF_A_RUN = (
    "Make room or set OUTPUT_DIR to a folder that can be written; the same command goes on from the newest "
    "checkpoint."
)


@contextlib.contextmanager
def write_atomically(path: Path, *, binary: bool = False, cure: str = OF_A_RUN) -> Iterator[IO[Any]]:
    """Open a file that takes the place of ``path`` only after it has been written and has reached the disk.

    The bytes go to a temporary file in the same folder, which is fsynced and renamed; then the folder is
    fsynced, so that the rename outlives a power cut. On any error the temporary file is removed and an older
    ``path`` stays as it was.

    Args:
        path: The file; its folder must exist.
        binary: Whether bytes are written; otherwise UTF-8 text.
        cure: What to do where it cannot be written, a sentence.

    Raises:
        RunFolderError: If the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb" if binary else "w", encoding=None if binary else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise RunFolderError(explain(error, path, cure=cure)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def explain(error: OSError, path: Path, *, cure: str = OF_A_RUN) -> str:
    """Return why ``path`` could not be written and what to do."""
    room = ""
    with contextlib.suppress(OSError):
        room = f", with {shutil.disk_usage(path.parent).free / 2**30:.2f} GiB free there"
    return f"{path} could not be written: {error.strerror or error}{room}. {cure}"


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
