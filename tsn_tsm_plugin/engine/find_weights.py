"""find_weights: the weights file of a path, which may be a run folder."""

from pathlib import Path

from tsn_tsm_plugin.checkpoints.read_checkpoint import Checkpoint, fetch_checkpoint, read_checkpoint
from tsn_tsm_plugin.engine.checkpoint import BEST, check_numbers, list_checkpoints, read_first_whole
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.runs.run_folder import RUN_WEIGHTS

PUBLISHED_WEIGHTS = "model.safetensors"


def find_weights(path: str | Path, *, which: str = "last") -> str:
    """Return the weights file of a path.

    A run folder gives its newest checkpoint, which ``results.json`` belongs to. With ``"best"`` it gives the
    best validated checkpoint. Damaged files are skipped with a warning. A folder of ``tsn-tsm-publish`` gives
    its weights, and a file gives itself.

    Args:
        path: A file or folder, at any path that iopath can open.
        which: ``"last"`` or ``"best"``.

    Raises:
        CheckpointError: If there are no such weights, or all are damaged.
    """
    found = fetch_checkpoint(str(path))
    if not found.is_dir():
        return str(path)
    folder = found / "checkpoints" if (found / "checkpoints").is_dir() else found
    last = (*list_checkpoints(folder), folder / BEST, found / RUN_WEIGHTS)
    candidates = last if which == "last" else (folder / BEST,)
    files = [file for file in (*candidates, found / PUBLISHED_WEIGHTS) if file.is_file()]
    whole = read_first_whole(files, _read_numbers, where=path)
    if whole is not None:
        return str(whole[0])
    kind = "best checkpoint: was there a validation?" if which == "best" else "checkpoint."
    raise CheckpointError(f"{path} holds no {kind} Give a file, or the folder of a run.")


def _read_numbers(path: Path) -> Checkpoint:
    checkpoint = read_checkpoint(path)
    check_numbers(checkpoint.state_dict, path=path)
    return checkpoint
