"""TensorBoardLogger, CsvLogger, WandbLogger, MlflowLogger: loggers in addition to metrics.jsonl."""

import csv
import importlib.util
import io
import math
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tsn_tsm_plugin.atomic_files import write_atomically, write_text_atomically
from tsn_tsm_plugin.paths import read_text

_EXTRAS = {
    "tensorboard": "pip install tensorboard",
    "wandb": 'pip install "tsn_tsm_plugin[wandb]"',
    "mlflow": 'pip install "tsn_tsm_plugin[mlflow]"',
}
# MLflow refuses more parameters in one call, and longer values.
_MLFLOW_PARAMETERS, _MLFLOW_LETTERS = 100, 500


class MetricsLogger(Protocol):
    """Interface of a registered logger.

    A logger is created with its options and these arguments:

    - ``folder``: The run folder.
    - ``run_name``: Name of the run.
    - ``recipe``: Settings by dotted key.
    - ``step``: Steps that the run has already taken; numbers of later steps are out of date.
    """

    def write(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Write the numbers of a step; a number may be infinite or NaN."""

    def close(self) -> None:
        """Write all buffered numbers; by default none is buffered."""


def missing_package(name: str) -> str:
    """Return how to install the missing package of a built-in logger; empty if the package is installed.

    Args:
        name: Name of the logger and of its package.
    """
    is_missing = name in _EXTRAS and importlib.util.find_spec(name) is None
    return f"needs the package {name}: {_EXTRAS[name]}" if is_missing else ""


class TensorBoardLogger(MetricsLogger):
    """Writes TensorBoard events into ``tensorboard/`` of the run folder.

    TensorBoard's own writer works in a thread, which prints a traceback if the disk is full. A resumed run
    hides the events of later steps.
    """

    def __init__(self, *, folder: Path, run_name: str, recipe: dict[str, Any], step: int) -> None:
        # Import late: the import takes seconds, and not every run needs it.
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard.summary import scalar

        self._event, self._scalar, self._writer = Event, scalar, RecordWriter
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._path = folder / "tensorboard" / name
        self._path.parent.mkdir(exist_ok=True)
        first: list[dict[str, Any]] = [{"file_version": "brain.Event:2"}]
        if step:
            first.append({"step": step + 1, "session_log": SessionLog(status=SessionLog.START)})
        self._append(first)

    def _append(self, events: Sequence[dict[str, Any]]) -> None:
        with self._path.open("ab") as file:
            for event in events:
                record = self._event(wall_time=time.time(), **event)
                self._writer(file).write(record.SerializeToString())

    def write(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Write one scalar for each number."""
        self._append([{"step": step, "summary": self._scalar(*item)} for item in values.items()])


class CsvLogger(MetricsLogger):
    """Writes ``metrics.csv`` into the run folder: one row per record, one column per number.

    A resumed run removes the rows of later steps.
    """

    def __init__(self, *, folder: Path, run_name: str, recipe: dict[str, Any], step: int) -> None:
        self._path = folder / "metrics.csv"
        self._columns = ["step", "epoch"]
        self._rows: list[dict[str, Any]] = []
        if self._path.exists() and step:
            reader = csv.DictReader(io.StringIO(read_text(self._path), newline=""))
            self._rows = [row for row in reader if (row.get("step") or "").isdigit()]
            self._rows = [row for row in self._rows if int(row["step"]) <= step]
            self._columns = list(reader.fieldnames or self._columns)
        self._write_all()

    def write(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Add a row; non-finite numbers give empty cells."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._columns += [name for name in values if name not in self._columns]
        self._rows.append({"step": step, "epoch": epoch, **finite})
        self._write_all()

    def _write_all(self) -> None:
        # Write the whole file: rows are few, and a new column changes every row.
        with write_atomically(self._path) as file:
            writer = csv.DictWriter(file, self._columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self._rows)


class WandbLogger(MetricsLogger):
    """Sends the numbers to Weights & Biases; a resumed run continues on its page, see ``wandb_id.txt``.

    Args:
        **options: Keywords of ``wandb.init``, such as ``project`` or ``mode``.
    """

    def __init__(
        self, *, folder: Path, run_name: str, recipe: dict[str, Any], step: int, **options: Any
    ) -> None:
        import wandb

        own = {"name": run_name, "config": recipe, "dir": str(folder), "resume": "allow"}
        run_id = _kept_id(folder / "wandb_id.txt")
        self._run: Any = wandb.init(**{**own, **({"id": run_id} if run_id else {}), **options})
        write_text_atomically(folder / "wandb_id.txt", f"{self._run.id}\n")
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Send the numbers of a step."""
        self._run.log({"step": step, "epoch": epoch, **values})

    def close(self) -> None:
        """Wait until everything is sent."""
        self._run.finish()


class MlflowLogger(MetricsLogger):
    """Sends the numbers to MLflow; a resumed run continues its MLflow run, see ``mlflow_id.txt``.

    Args:
        tracking_uri: Server or folder; empty: MLflow's default, such as ``MLFLOW_TRACKING_URI``.
        experiment: Name of the experiment; a missing experiment is created.
    """

    def __init__(
        self,
        *,
        folder: Path,
        run_name: str,
        recipe: dict[str, Any],
        step: int,
        tracking_uri: str = "",
        experiment: str = "tsn_tsm_plugin",
    ) -> None:
        from mlflow.tracking import MlflowClient

        self._client: Any = MlflowClient(tracking_uri=tracking_uri or None)
        self._run_id = _kept_id(folder / "mlflow_id.txt")
        if self._run_id:
            return
        found = self._client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else self._client.create_experiment(experiment)
        self._run_id = self._client.create_run(experiment_id, run_name=run_name).info.run_id
        write_text_atomically(folder / "mlflow_id.txt", f"{self._run_id}\n")
        from mlflow.entities import Param

        parameters = [Param(key, str(value)[:_MLFLOW_LETTERS]) for key, value in recipe.items()]
        for start in range(0, len(parameters), _MLFLOW_PARAMETERS):
            self._client.log_batch(self._run_id, params=parameters[start : start + _MLFLOW_PARAMETERS])

    def write(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Send the numbers of a step."""
        for name, value in {"epoch": epoch, **values}.items():
            self._client.log_metric(self._run_id, name, value, step=step)

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run_id)


def _kept_id(path: Path) -> str:
    return read_text(path).strip() if path.is_file() else ""
