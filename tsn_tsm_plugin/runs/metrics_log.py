"""Numbers of a run over time: ``metrics.jsonl`` and TensorBoard, under the same names."""

import json
import math
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.atomic_files import format_os_error, write_atomically
from tsn_tsm_plugin.errors import RunFolderError


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the records of a ``metrics.jsonl``, oldest first; a last line that was cut off is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


class MetricsLog:
    """Appends records to ``metrics.jsonl`` and, if asked, to TensorBoard.

    A run that resumes goes back to a checkpoint; the records of the steps that will be taken again are
    removed.

    Args:
        path: The ``metrics.jsonl``.
        tensorboard_dir: Folder of the event files; ``None`` writes none.
        step: Optimiser steps that the run has taken already.
        num_records: Records that there were when those steps had been taken. Those of a validation after
            them are removed, since the run validates again.

    Attributes:
        num_records: Records in the file.
    """

    def __init__(
        self, path: Path, *, tensorboard_dir: Path | None, step: int, num_records: int | None = None
    ) -> None:
        self._path = path
        kept = [record for record in read_metrics(path) if record["step"] <= step][:num_records]
        self.num_records = len(kept)
        with write_atomically(path) as file:
            file.writelines(json.dumps(record) + "\n" for record in kept)
        self._board = None
        if tensorboard_dir is not None:
            # Imported here: it takes seconds, and not every run wants it.
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(tensorboard_dir), purge_step=step + 1 if step else None)

    def write(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Append one record.

        Args:
            step: Optimiser steps taken.
            epoch: Epoch, counted from 1 as in the log.
            values: Numbers by name, such as ``train/loss``; one that is not finite is written as ``null``.

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
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Write out what TensorBoard still holds back."""
        if self._board is not None:
            self._board.close()
