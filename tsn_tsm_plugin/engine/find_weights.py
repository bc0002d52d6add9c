"""The weights of a file or a run folder: list, find, read them, and load those that a recipe names."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from tsn_tsm_plugin.checkpoints.read_checkpoint import Checkpoint, fetch_checkpoint, read_checkpoint
from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.engine.checkpoint import BEST, check_numbers, list_checkpoints, read_first_whole
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.models import LoadReport, load_weights
from tsn_tsm_plugin.models.checkpoint_attributes import RECIPE
from tsn_tsm_plugin.runs.run_folder import RUN_WEIGHTS

PUBLISHED_WEIGHTS = "model.safetensors"


def list_weights(path: str | Path, *, which: str = "last") -> list[Path]:
    """Return the weights files of a path, best first, unread.

    A run folder gives its newest checkpoint, which ``results.json`` belongs to, and older ones. With
    ``"best"`` it gives the best validated checkpoint. A folder of ``tsn-tsm-publish`` gives its weights, and
    a file gives itself.

    Args:
        path: A file or folder, at any path that iopath can open.
        which: ``"last"`` or ``"best"``.

    Raises:
        CheckpointError: If there are no such weights.
    """
    found = fetch_checkpoint(str(path))
    if not found.is_dir():
        return [found]
    folder = found / "checkpoints" if (found / "checkpoints").is_dir() else found
    last = (*list_checkpoints(folder), folder / BEST, found / RUN_WEIGHTS)
    candidates = last if which == "last" else (folder / BEST,)
    files = [file for file in (*candidates, found / PUBLISHED_WEIGHTS) if file.is_file()]
    if files:
        return files
    kind = "best checkpoint: was there a validation?" if which == "best" else "checkpoint."
    raise CheckpointError(f"{path} holds no {kind} Give a file, or the folder of a run.")


def find_weights(path: str | Path, *, which: str = "last") -> str:
    """Return the file that :func:`read_weights` reads; a file gives itself unread."""
    is_folder = fetch_checkpoint(str(path)).is_dir()
    return read_weights(path, which=which).path if is_folder else str(path)


def read_weights(path: str | Path, *, which: str = "last") -> Checkpoint:
    """Return the first weights of :func:`list_weights` that are whole; report damaged files of a folder.

    Raises:
        CheckpointError: If there are no such weights, or all are damaged.
    """
    if not fetch_checkpoint(str(path)).is_dir():
        return read_checkpoint(path)
    whole = read_first_whole(list_weights(path, which=which), _read_numbers, where=path)
    assert whole is not None, "list_weights names a file, or raises"
    return whole[1]


def load_initial_weights(cfg: CfgNode, model: nn.Module, class_names: Sequence[str]) -> LoadReport:
    """Load ``TRAIN.CHECKPOINT_FILE_PATH`` of a recipe; ``class_names`` as for ``load_weights``.

    Raises:
        CheckpointError: If the weights are missing, damaged or do not fit.
    """
    return load_weights(
        model,
        read_weights(cfg.TRAIN.CHECKPOINT_FILE_PATH),
        ignore_head=cfg.TRAIN.CHECKPOINT_IGNORE_HEAD,
        allow_mismatch=cfg.TRAIN.CHECKPOINT_ALLOW_MISMATCH,
        class_names=class_names,
        words=RECIPE,
    )


def load_tested_weights(cfg: CfgNode, model: nn.Module, class_names: Sequence[str]) -> str:
    """Load the weights that a recipe tests and return their path; ``class_names`` as for ``load_weights``.

    Raises:
        CheckpointError: If the weights are missing, damaged or do not fit.
    """
    folder = Path(cfg.OUTPUT_DIR) / "checkpoints"
    if not cfg.TEST.CHECKPOINT_FILE_PATH and not list_checkpoints(folder):
        raise CheckpointError(
            f"There are no weights to test: {folder} holds no checkpoint. Train first, or set "
            "TEST.CHECKPOINT_FILE_PATH (--weights)."
        )
    checkpoint = read_weights(cfg.TEST.CHECKPOINT_FILE_PATH or cfg.OUTPUT_DIR)
    load_weights(
        model,
        checkpoint,
        allow_mismatch=cfg.TRAIN.CHECKPOINT_ALLOW_MISMATCH,
        class_names=class_names,
        words=RECIPE,
    )
    return checkpoint.path


def _read_numbers(path: Path) -> Checkpoint:
    checkpoint = read_checkpoint(path)
    check_numbers(checkpoint.state_dict, path=path)
    return checkpoint
