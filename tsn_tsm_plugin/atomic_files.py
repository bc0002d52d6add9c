"""write_atomically, replace_when_whole, ...: write files and folders completely or not at all."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from tsn_tsm_plugin.errors import ConfigError, RunFolderError

# Remedies if a file of a run folder, or another file, cannot be written.
HINT_RUN = (
    "Make room or set OUTPUT_DIR to a folder that can be written; the same command goes on from the newest "
    "checkpoint."
)
HINT_FILE = "Make room or name another folder; existing files are unchanged."


@contextlib.contextmanager
def write_atomically(path: Path, *, binary: bool = False, hint: str = HINT_RUN) -> Iterator[IO[Any]]:
    """Open a temporary file that replaces ``path`` after it has been written and flushed to disk.

    Bytes go to an :class:`UnfinishedFile`. On any error that file is removed and an older ``path`` is kept.

    Args:
        path: The file, in an existing folder.
        binary: Whether bytes are written; otherwise UTF-8 text.
        hint: Remedy if the file cannot be written, a sentence.

    Raises:
        RunFolderError: If the disk is full or the folder cannot be written.
    """
    mode, encoding = ("wb", None) if binary else ("w", "utf-8")
    with (
        replace_when_whole(path, hint=hint) as temporary,
        temporary.open(mode, encoding=encoding) as file,
    ):
        yield file


def write_text_atomically(path: str | Path, text: str, *, hint: str = HINT_FILE) -> None:
    """Write a UTF-8 file, and create its folder if missing; see :func:`write_atomically`."""
    with os_errors_as_run_folder_errors(Path(path), hint=hint):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(Path(path), hint=hint) as file:
        file.write(text)


@contextlib.contextmanager
def replace_folder_when_whole(target: Path) -> Iterator[Path]:
    """Yield a hidden path at which to create a file or folder that becomes ``target`` after the block.

    If the block raises, the hidden file or folder is removed and an older ``target`` is kept. A killed
    process leaves ``.NAME.partial``, which the next call removes.

    Args:
        target: A file or folder; missing parents are created.

    Raises:
        RunFolderError: If the disk is full or the folder cannot be written.
    """
    partial = target.with_name(f".{target.name}.partial")
    with os_errors_as_run_folder_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(partial)
        try:
            yield partial
            _remove(target)
            partial.rename(target)
        finally:
            _remove(partial)


@contextlib.contextmanager
def replace_when_whole(path: str | Path, *, hint: str = HINT_FILE) -> Iterator[Path]:
    """Yield the path of a temporary file to write, which replaces ``path`` after the block.

    If the block raises, the temporary file is removed and an older ``path`` is kept.

    Args:
        path: The file, in an existing folder.
        hint: Remedy if the file cannot be written, a sentence.

    Raises:
        RunFolderError: If the disk is full or the folder cannot be written.
    """
    unfinished = UnfinishedFile(path, hint=hint)
    try:
        with os_errors_as_run_folder_errors(Path(path), hint=hint):
            yield unfinished.path
        unfinished.keep()
    finally:
        unfinished.remove()


class UnfinishedFile:
    """The temporary file that is written in place of ``path`` until it is complete.

    The temporary file has the folder and the suffix of ``path``: some libraries select the format by the
    suffix. A killed process leaves ``.NAME.PID.unfinished.SUFFIX``.

    Args:
        path: The file; a link is kept, and its target is replaced.
        hint: Remedy if the file cannot be written, a sentence.

    Attributes:
        path: The temporary file, empty at first.

    Raises:
        RunFolderError: If the folder cannot be written.
    """

    def __init__(self, path: str | Path, *, hint: str = HINT_FILE) -> None:
        self._named = Path(path)
        self._hint = hint
        self._target = Path(os.path.realpath(path))
        name = f".{self._target.stem}.{os.getpid()}.unfinished{self._target.suffix}"
        self.path = self._target.with_name(name)
        with os_errors_as_run_folder_errors(self._named, hint=self._hint):
            if self._target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self.path.touch()

    def keep(self) -> None:
        """Replace ``path`` by the complete temporary file.

        Fsync the file before and its folder afterwards, so that the new name survives a power cut.

        Raises:
            RunFolderError: If the disk is full or the folder cannot be written.
        """
        with os_errors_as_run_folder_errors(self._named, hint=self._hint):
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
            self.path.replace(self._target)
            _fsync_folder(self._target.parent)

    def remove(self) -> None:
        """Remove the temporary file, if it exists; keep ``path``."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def os_errors_as_run_folder_errors(path: Path, *, hint: str = HINT_FILE) -> Iterator[None]:
    """Turn an ``OSError`` of the block, which writes ``path``, into a ``RunFolderError``."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(format_os_error(error, path, hint=hint)) from error


def format_os_error(error: OSError, path: Path, *, hint: str = HINT_RUN) -> str:
    """Return why ``path`` could not be written, and the remedy."""
    room = ""
    with contextlib.suppress(OSError):
        room = f", with {shutil.disk_usage(path.parent).free / 2**30:.2f} GiB free there"
    return f"{path} could not be written: {error.strerror or error}{room}. {hint}"


def check_are_no_inputs(outs: Iterable[str | Path], inputs: Iterable[str | Path | int]) -> None:
    """Refuse to overwrite an input. Links and other spellings of a name count as the same file.

    Args:
        outs: The files to write, which may be missing.
        inputs: Files, or descriptors of open files; other inputs, such as URLs, are skipped.

    Raises:
        ConfigError: If one of ``outs`` is an input.
    """
    read = {_identity(each if isinstance(each, int) else str(each).removeprefix("file:")) for each in inputs}
    for out in outs:
        identity = _identity(out)
        if identity is not None and identity in read:
            raise ConfigError(f"{out} is the input: give another name.")


def _identity(file: str | Path | int) -> tuple[int, int] | None:
    """Return device and inode, which all names of a file share; ``None`` if there is no file."""
    try:
        found = os.stat(file)  # noqa: PTH116  # Path.stat takes no descriptors.
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _fsync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows cannot open folders.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
