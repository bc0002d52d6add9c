"""get_logger, setup_logging, warn_on_failure, ...: log records, to the terminal and the run's ``log.txt``."""

import contextlib
import errno
import functools
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from tsn_tsm_plugin.safe_text import printed_lines

_ROOT = "tsn_tsm_plugin"
_LINE = "%(asctime)s %(levelname).1s %(name)s: %(message)s"


class _ShortName(logging.Formatter):
    """Shortens logger names, such as ``engine.trainer``, and keeps messages from forging records."""

    def format(self, record: logging.LogRecord) -> str:
        short = logging.makeLogRecord(record.__dict__)
        short.name = record.name.removeprefix(f"{_ROOT}.")
        return printed_lines(super().format(short))


# tqdm's own lock spans processes: a worker killed while it logs would hold the lock of the run forever.
tqdm.set_lock(threading.RLock())


class _TerminalHandler(logging.StreamHandler):
    """Writes around progress bars, and skips lines that repeat a bar on this terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "is_progress", False) and self.stream.isatty():
            return
        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


class _LogFileHandler(logging.FileHandler):
    """Appends to a regular file; reports a full disk once, and continues without the file."""

    def __init__(self, path: Path | str) -> None:
        if Path(path).exists() and not Path(path).is_file():
            raise OSError(errno.EINVAL, "it is no regular file")  # A pipe would wait for a reader.
        super().__init__(path, encoding="utf-8")
        self._has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name.
        """Report the first failure; still try to write later records."""
        if not self._has_failed:
            self._has_failed = True
            _tell_no_log(self.baseFilename, sys.exc_info()[1])

    def close(self) -> None:
        """Close the file, even if its last lines cannot be written."""
        with contextlib.suppress(OSError):
            super().close()


def _tell_no_log(path: Path | str, error: BaseException | None) -> None:
    reason = getattr(error, "strerror", None) or error
    print(printed_lines(f"{path} cannot be written ({reason}): the log goes on here alone."), file=sys.stderr)


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module; silent until an application configures logging."""
    return logging.getLogger(name)


def setup_logging(path: Path | str | None = None, *, rank: int = 0, quiet: bool = False) -> None:
    """Send the library's records to the terminal and to a file.

    A second call replaces the first call: runs in one process do not write into each other's files. A record
    with ``extra={"is_progress": True}`` is skipped if the terminal shows a progress bar instead.

    Args:
        path: File that records are appended to, in an existing folder; ``None``: only the terminal.
        rank: Rank of this process. Ranks above 0 show warnings and errors only, and write no file.
        quiet: Show warnings and errors only, for commands that write results to standard output.
    """
    root = logging.getLogger(_ROOT)
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.INFO if rank == 0 and not quiet else logging.WARNING)
    root.propagate = False
    handlers: list[logging.Handler] = [_TerminalHandler(sys.stderr)]
    if path is not None and rank == 0:
        try:
            handlers.append(_LogFileHandler(path))
        except OSError as error:
            _tell_no_log(path, error)
    for handler in handlers:
        prefix = "" if rank == 0 else f"[rank {rank}] "
        handler.setFormatter(_ShortName(prefix + _LINE, datefmt="%H:%M:%S"))
        root.addHandler(handler)


def warn_once(path: str, remark: str) -> None:
    """Log a remark about a file or folder, if any, once."""
    if remark:  # So that only files with a remark are remembered.
        _warn(path, remark)


@functools.lru_cache(maxsize=1024)
def _warn(path: str, remark: str) -> None:
    get_logger(__name__).warning("%s: %s.", path, remark)


@contextlib.contextmanager
def warn_on_failure(what: object) -> Iterator[None]:
    """Turn any error of the block into one warning: a plot or page can be drawn again later.

    Args:
        what: Output of the block, the subject of the warning.
    """
    try:
        yield
    except Exception as error:  # Matplotlib, Pillow and TensorBoard raise many kinds of errors.
        reason = " ".join(str(error).split())[:300]
        get_logger(__name__).warning(
            f"{what} could not be made ({type(error).__name__}: {reason}); the run goes on."
        )
