"""MetricsLog, read_metrics: numbers of a run, in ``metrics.jsonl`` and for its loggers."""

import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.atomic_files import format_os_error, write_atomically
from tsn_tsm_plugin.errors import ConfigError, RunFolderError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.runs.loggers import MetricsLogger
from tsn_tsm_plugin.runs.run_folder import kept_lines

logger = get_logger(__name__)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the records of a ``metrics.jsonl``, oldest first; a line that is cut off or damaged is skipped.

    Raises:
        RunFolderError: If the file cannot be read.
    """
    return _records(kept_lines(path))


def _records(lines: Sequence[str]) -> list[dict[str, Any]]:
    return [record for record in map(_record, lines) if record is not None]


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    is_whole = type(record.get("step")) is int and type(record.get("epoch", 0)) is int
    return record if is_whole else None


class MetricsLog:
    """Appends records to ``metrics.jsonl`` and hands them to loggers.

    A logger that fails is dropped with a warning: ``metrics.jsonl`` has the same numbers.

    A resumed run starts from a checkpoint. Records of steps after the checkpoint are removed.

    Args:
        path: The ``metrics.jsonl``.
        loggers: Functions that create loggers, which get the same numbers.
        step: Optimiser steps of the checkpoint.
        num_records: Records at the checkpoint. Later records of a validation are removed, because the run
            validates again.

    Attributes:
        num_records: Records in the file.
    """

    def __init__(
        self,
        path: Path,
        *,
        loggers: Sequence[Callable[[], MetricsLogger]] = (),
        step: int,
        num_records: int | None = None,
    ) -> None:
        self._path = path
        lines = kept_lines(path)
        records = _records(lines)
        if len(records) < len(lines):
            logger.warning(f"{path}: {len(lines) - len(records)} lines are cut off or damaged; removed.")
        kept = [record for record in records if record["step"] <= step][:num_records]
        self.num_records = len(kept)
        with write_atomically(path) as file:
            file.writelines(json.dumps(record) + "\n" for record in kept)
        self._loggers: list[MetricsLogger] = []
        for open_logger in loggers:
            self._attempt(functools.partial(self._open, open_logger))

    def _open(self, open_logger: Callable[[], MetricsLogger]) -> None:
        self._loggers.append(open_logger())

    def write(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Append one record.

        Args:
            step: Optimiser steps taken.
            epoch: Epoch, counted from 1 as in the log.
            values: Numbers by name, such as ``train/loss``; ``null`` replaces a non-finite number.

        Raises:
            RunFolderError: If the disk is full or the folder cannot be written.
        """
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "epoch": epoch, **finite}) + "\n")
            self.num_records += 1
        except OSError as error:
            raise RunFolderError(format_os_error(error, self._path)) from error
        self._each(lambda one: one.write(step, epoch, values))

    def close(self) -> None:
        """Write all numbers that the loggers have buffered."""
        self._each(lambda one: one.close())

    def _each(self, work: Callable[[MetricsLogger], None]) -> None:
        self._loggers = [one for one in self._loggers if self._attempt(functools.partial(work, one))]

    def _attempt(self, work: Callable[[], None]) -> bool:
        """Return whether ``work`` succeeded; warn if it failed."""
        try:
            work()
        except ConfigError:
            raise
        except Exception as error:  # Loggers raise any error of their servers and threads.
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            logger.warning(f"A logger failed ({reason}) and is dropped; {self._path} has the same numbers.")
            return False
        return True
