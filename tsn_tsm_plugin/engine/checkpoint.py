"""save_checkpoint, load_checkpoint, load_newest_checkpoint: atomic files, read without running code.

A checkpoint is a dictionary of tensors and plain Python values, so that reading it runs no code.
``load_weights`` finds the network under ``model_state``, as in PyTorchVideo's and SlowFast's files.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from tsn_tsm_plugin.atomic_files import write_atomically
from tsn_tsm_plugin.checkpoints.read_checkpoint import FORMAT, check_version
from tsn_tsm_plugin.checkpoints.safetensors_file import to_safetensors
from tsn_tsm_plugin.checkpoints.torch_file import read_torch_file
from tsn_tsm_plugin.errors import CheckpointError, NewerCheckpointError
from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)

BEST = "best.pt"

Content = TypeVar("Content")

# Required entries of a checkpoint, by type.
_NEEDED: dict[str, type] = {
    "model_state": dict,
    "optimizer_state": dict,
    "epoch": int,
    "batch": int,
    "step": int,
    "config": str,
}


def checkpoint_path(folder: Path, *, step: int) -> Path:
    """Return the path of the checkpoint after ``step`` optimiser steps; names sort by step."""
    return folder / f"step_{step:08d}.pt"


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, newest first."""
    return sorted(folder.glob("step_*.pt"), reverse=True)


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically.

    Args:
        state: Tensors and plain Python values.
        path: The file to write, in an existing folder.

    Raises:
        RunFolderError: If the disk is full or the folder cannot be written; older checkpoints stay.
    """
    # Save to memory first: torch hides the reason of a disk error.
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    with write_atomically(path, binary=True) as file:
        file.write(buffer.getbuffer())


def export_weights(
    model_state: dict[str, Tensor],
    path: Path,
    *,
    config: str,
    class_names: list[str],
    attributes: Mapping[str, Any],
) -> None:
    """Write weights as a safetensors file that carries network, recipe and class names, atomically.

    Args:
        model_state: Tensors by name.
        path: The file; its folder must exist.
        config: The recipe, YAML.
        class_names: Names in the label map.
        attributes: Result of :func:`~tsn_tsm_plugin.checkpoints.metadata.attributes_of_model`.

    Raises:
        RunFolderError: If the disk is full or the folder cannot be written.
    """
    content = to_safetensors(model_state, attributes=attributes, config=config, class_names=class_names)
    with write_atomically(path, binary=True) as file:
        file.write(content)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of :func:`save_checkpoint` to the CPU.

    Raises:
        NewerCheckpointError: If a newer version of this library has written the file.
        CheckpointError: If the file is cut off or damaged, holds NaN, or is no checkpoint of a training run.
    """
    state = read_torch_file(path)
    if isinstance(state, dict):
        check_version(state, path=str(path))
    missing = [key for key in _NEEDED if not isinstance(state, dict) or key not in state]
    if missing:
        raise CheckpointError(
            f"{path} is not a checkpoint that training can go on from: it lacks {', '.join(missing)}. "
            "To start from its weights, set TRAIN.CHECKPOINT_FILE_PATH to it and use a new OUTPUT_DIR."
        )
    strange = [key for key, kind in _NEEDED.items() if not isinstance(state[key], kind)]
    if strange:
        raise CheckpointError(f"{path} is damaged: {', '.join(strange)} holds no valid values.")
    check_numbers(state, path=path)
    return state


def check_numbers(content: Any, *, path: Path) -> None:
    """Refuse tensors with NaN, from which no run can resume.

    Args:
        content: Tensors in dictionaries and lists.
        path: File of the tensors.

    Raises:
        CheckpointError: If a tensor holds NaN.
    """
    strange = list(_names_of_nan(content))[:3]
    if strange:
        raise CheckpointError(f"{path} is damaged: NaN in {', '.join(strange)}.")


def _names_of_nan(value: Any, name: str = "") -> Iterator[str]:
    """Find the tensors of a checkpoint that hold NaN, by their path of keys."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and bool(value.isnan().any()):
            yield name
    elif isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _names_of_nan(item, f"{name}.{key}".lstrip("."))


def load_newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Read the newest undamaged checkpoint, and report damaged newer checkpoints.

    Returns:
        Path and content of the checkpoint, or ``None`` if the folder holds no checkpoint.

    Raises:
        NewerCheckpointError: If a newer version of this library has written a checkpoint.
        CheckpointError: If there are checkpoints and all of them are damaged.
    """
    return read_first_whole(list_checkpoints(folder), load_checkpoint, where=folder)


def read_first_whole(
    paths: Sequence[Path], read: Callable[[Path], Content], *, where: object
) -> tuple[Path, Content] | None:
    """Read the first undamaged file, and report damaged files before it.

    Args:
        paths: Files, best first.
        read: Function that reads a file.
        where: Folder or source of the files, for the message.

    Returns:
        Path and content of the file, or ``None`` if there are no files.

    Raises:
        NewerCheckpointError: If a newer version of this library has written the next file.
        CheckpointError: If there are files and all of them are damaged.
    """
    for path in paths:
        try:
            return path, read(path)
        except NewerCheckpointError:
            raise
        except CheckpointError as error:
            logger.warning(f"{error} Trying the checkpoint before it.")
    if paths:
        raise CheckpointError(
            f"None of the {len(paths)} checkpoints in {where} can be read. Remove them to start again."
        )
    return None


def keep_newest(folder: Path, *, count: int) -> None:
    """Delete all but the ``count`` newest checkpoints of a folder."""
    for path in list_checkpoints(folder)[count:]:
        path.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Delete the temporary files of runs that were killed while they wrote a checkpoint."""
    for path in folder.glob(".*.unfinished*"):
        path.unlink(missing_ok=True)


def mark_best(path: Path) -> None:
    """Make ``best.pt`` the same file as the checkpoint ``path``; it outlives :func:`keep_newest`."""
    best = path.with_name(BEST)
    temporary = path.with_name(".best.unfinished.pt")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # Copy on file systems without hard links.
        with write_atomically(temporary, binary=True) as file:
            file.write(path.read_bytes())
    with contextlib.suppress(FileNotFoundError):
        temporary.replace(best)
