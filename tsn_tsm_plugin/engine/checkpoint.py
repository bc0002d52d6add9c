"""Checkpoints: written whole or not at all, read without running code, newest good one first.

A checkpoint is a dictionary of tensors and plain Python values, so that reading it runs no code.
``load_weights`` finds the network under ``model_state``, as in PyTorchVideo's and SlowFast's files.
"""

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from tsn_tsm_plugin.atomic_files import write_atomically
from tsn_tsm_plugin.checkpoints.torch_file import read_torch_file
from tsn_tsm_plugin.checkpoints.weights_hash import weights_hash
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)

BEST = "best.pt"
_FORMAT = 1
_NEEDED = ("model_state", "optimizer_state", "epoch", "batch", "step", "config")


def checkpoint_path(folder: Path, *, step: int) -> Path:
    """Return where the checkpoint after ``step`` optimiser steps lies; names sort by step."""
    return folder / f"step_{step:08d}.pt"


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, newest first."""
    return sorted(folder.glob("step_*.pt"), reverse=True)


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically.

    Args:
        state: Tensors and plain Python values.
        path: Its folder must exist.

    Raises:
        RunFolderError: If the disk is full or the folder cannot be written; older checkpoints stay.
    """
    # Through memory: torch turns an error of the disk into one of its own that hides the reason.
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, **state}, buffer)
    with write_atomically(path, binary=True) as file:
        file.write(buffer.getbuffer())


def export_weights(
    model_state: dict[str, torch.Tensor], path: Path, *, config: str, class_names: list[str]
) -> None:
    """Write weights as a safetensors file that carries the recipe and the class names, atomically.

    Args:
        model_state: Tensors by name.
        path: The file; its folder must exist.
        config: The recipe, YAML.
        class_names: Of the label map.

    Raises:
        RunFolderError: If the disk is full or the folder cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model_state.items()}
    metadata = {
        "format": "pt",
        "config": config,
        "class_names": json.dumps(class_names),
        "weights_hash": weights_hash(tensors),
    }
    with write_atomically(path, binary=True) as file:
        file.write(safetensors.torch.save(tensors, metadata=metadata))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of :func:`save_checkpoint` to the CPU.

    Raises:
        CheckpointError: If the file is cut off, is no checkpoint of a training run, or is of a newer format.
    """
    state = read_torch_file(path)
    missing = [key for key in _NEEDED if not isinstance(state, dict) or key not in state]
    if missing:
        raise CheckpointError(
            f"{path} is not a checkpoint that training can go on from: it lacks {', '.join(missing)}. "
            "To start from its weights, set TRAIN.CHECKPOINT_FILE_PATH to it and use a new OUTPUT_DIR."
        )
    if state.get("format", 0) > _FORMAT:
        raise CheckpointError(
            f"{path} has format {state['format']}, this version reads up to {_FORMAT}: update tsn_tsm_plugin."
        )
    return state


def load_newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Read the newest checkpoint that is whole, saying which damaged ones were passed over.

    Returns:
        Its path and content, or ``None`` if the folder holds no checkpoint.

    Raises:
        CheckpointError: If there are checkpoints and all of them are damaged.
    """
    paths = list_checkpoints(folder)
    for path in paths:
        try:
            return path, load_checkpoint(path)
        except CheckpointError as error:
            logger.warning(f"{error} Trying the checkpoint before it.")
    if paths:
        raise CheckpointError(
            f"None of the {len(paths)} checkpoints in {folder} can be read. Remove them to start again."
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
    except OSError:  # A file system without hard links.
        with write_atomically(temporary, binary=True) as file:
            file.write(path.read_bytes())
    with contextlib.suppress(FileNotFoundError):
        temporary.replace(best)
