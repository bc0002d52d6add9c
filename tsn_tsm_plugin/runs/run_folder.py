"""RunFolder: the files of a run, for inspection and resuming.

::

    config.yaml        the resolved config           checkpoints/   step_00000123.pt, best.pt
    environment.json   versions, machine, git        plots/         curves.png, confusion_matrix.png
    log.txt            what the terminal showed      tensorboard/   the same numbers as metrics.jsonl
    metrics.jsonl      one line per LOG_PERIOD       results.json   the final evaluation
    report.html        all of it on one page         weights.safetensors   the final weights, to be used
    bad_videos.txt     what could not be read        config_changes.jsonl   settings that changed, and when
"""

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tsn_tsm_plugin.atomic_files import format_os_error, write_atomically
from tsn_tsm_plugin.errors import RunFolderError
from tsn_tsm_plugin.file_lock import lock_file
from tsn_tsm_plugin.paths import read_bytes

RUN_WEIGHTS = "weights.safetensors"
_PACKAGES = ("tsn_tsm_plugin", "torch", "torchvision", "pytorchvideo", "fvcore", "timm", "av", "numpy")
_guard = threading.Lock()
_held: set[str] = set()
_OPTIONAL_PACKAGES = (
    "torchcodec", "decord", "onnx", "onnxruntime", "onnxscript", "wandb", "mlflow", "submitit", "torchmetrics"
)  # fmt: skip


class RunFolder:
    """Paths of a run folder.

    Args:
        path: The folder; created with its subfolders if missing.
        is_training: Whether the folder holds checkpoints; an evaluation has none.

    Raises:
        RunFolderError: If the folder cannot be created.
    """

    def __init__(self, path: str | Path, *, is_training: bool = True) -> None:
        self.path = Path(path).expanduser()
        self.checkpoints = self.path / "checkpoints"
        self.plots = self.path / "plots"
        self.config = self.path / "config.yaml"
        self.environment = self.path / "environment.json"
        self.log = self.path / "log.txt"
        self.metrics = self.path / "metrics.jsonl"
        self.results = self.path / "results.json"
        self.weights = self.path / RUN_WEIGHTS
        self.report = self.path / "report.html"
        self.bad_videos = self.path / "bad_videos.txt"
        self.config_changes = self.path / "config_changes.jsonl"
        for folder in (self.path, self.plots, *([self.checkpoints] if is_training else [])):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RunFolderError(format_os_error(error, folder)) from error
        if not os.access(self.path, os.W_OK):
            raise RunFolderError(
                f"The run folder {self.path} cannot be written: set OUTPUT_DIR to a folder that can."
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for one training run; the system releases the lock when the process ends.

        Raises:
            RunFolderError: If another process or thread trains into this folder.
        """
        path = self.path / ".lock"
        # The system's lock belongs to the process; opening and closing the file again would release it.
        identity = os.path.realpath(path)
        with _guard:
            if identity in _held:
                raise RunFolderError(
                    f"Another thread of this process trains into {self.path}: wait for it, or set another "
                    "OUTPUT_DIR."
                )
            _held.add(identity)
        try:
            with self._locked_file(path):
                yield
        finally:
            _held.discard(identity)

    @contextlib.contextmanager
    def _locked_file(self, path: Path) -> Iterator[None]:
        try:
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise RunFolderError(format_os_error(error, path)) from error
        with file:
            try:
                lock_file(file, wait=False)
            except OSError as error:
                file.seek(0)
                raise RunFolderError(
                    f"Another run trains into {self.path} ({file.read().strip() or 'unknown process'}): wait "
                    "for it, stop it, or set another OUTPUT_DIR."
                ) from error
            with contextlib.suppress(OSError):  # The holder's name is optional: the disk may be full.
                file.truncate(0)
                holder = f"process {os.getpid()} on {socket.gethostname()} since {time.ctime()}\n"
                os.write(file.fileno(), holder.encode())
            yield

    def write_json(self, path: Path, content: dict[str, Any]) -> None:
        """Write a dictionary as indented JSON, atomically; non-finite numbers become ``null``."""
        with write_atomically(path) as file:
            json.dump(finite(content), file, indent=2, allow_nan=False)
            file.write("\n")

    def write_text(self, path: Path, content: str) -> None:
        """Write text atomically."""
        with write_atomically(path) as file:
            file.write(content)


def kept_lines(path: Path) -> list[str]:
    """Return the lines that an earlier start wrote into a file; none if the file is missing.

    Raises:
        RunFolderError: If the file cannot be read.
    """
    if not path.exists():
        return []
    try:
        return read_bytes(path).decode("utf-8", "backslashreplace").splitlines()
    except OSError as error:
        reason = error.strerror or error
        raise RunFolderError(f"{path} cannot be read ({reason}): move it away, or repair it.") from error


def finite(content: Any) -> Any:
    """Return plain values with ``None`` for non-finite numbers, which JSON does not have."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def describe_environment(*, world_size: int) -> dict[str, Any]:
    """Return the environment of a result: versions, machine, command and state of the code."""
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git": _git_state(Path(__file__).parent),
        "machine": {
            "hostname": socket.gethostname(),
            "system": platform.platform(),
            "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpus": devices,
            "cuda": torch.version.cuda or "",
        },
        "world_size": world_size,
    }


def describe_for_report() -> dict[str, str]:
    """Return the facts of a bug report by title, without paths, host names and command lines."""
    found = describe_environment(world_size=1)
    machine, git = found["machine"], found["git"]
    changed = f", {len(git['changed'])} changed files" if git.get("changed") else ""
    optional = {name: _version(name) for name in _OPTIONAL_PACKAGES}
    return {
        "python": found["python"],
        **found["packages"],
        **{name: version for name, version in optional.items() if version != "not installed"},
        "commit": f"{git['commit']}{changed}" if git else "not a checkout",
        "system": machine["system"],
        "cpus": f"{machine['cpus']}, {machine['threads']} threads",
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
        "gpus": ", ".join(machine["gpus"]) or "none",
        "cuda": machine["cuda"] or "none",
        "cudnn": str(torch.backends.cudnn.version() or "none"),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _git_state(folder: Path) -> dict[str, Any]:
    """Return commit and changed files of the checkout around ``folder``; empty without a checkout."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed": git("status", "--porcelain").splitlines()}
    except (OSError, subprocess.SubprocessError):
        return {}
