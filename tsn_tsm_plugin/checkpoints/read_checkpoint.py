"""Checkpoint, read_checkpoint: the tensors and the metadata of a file, read without running code."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from tsn_tsm_plugin.checkpoints.safetensors_file import read_safetensors
from tsn_tsm_plugin.checkpoints.stub import Stub
from tsn_tsm_plugin.checkpoints.torch_file import read_torch_file
from tsn_tsm_plugin.checkpoints.zoo import PREFIX, fetch_zoo_file, zoo_hint
from tsn_tsm_plugin.errors import CheckpointError, NewerCheckpointError, first_line
from tsn_tsm_plugin.paths import local_path

# Version of the checkpoints that training writes.
FORMAT = 1

# Keys of state dicts, best first. Averaged weights come before the trained ones, as in timm.
_STATE_DICT_KEYS = (
    "state_dict_ema",
    "model_ema",
    "model_state",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "weights",
)


@dataclass(frozen=True)
class Checkpoint:
    """Tensors and metadata of a file.

    Attributes:
        state_dict: Tensors by name.
        metadata: Everything in the file that is not the state dict; empty for a bare state dict.
        path: The path as given; empty if the state dict was given as an object.
    """

    state_dict: dict[str, Tensor]
    metadata: dict[str, Any] = field(default_factory=dict)
    path: str = ""


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a ``.safetensors`` file or a file of ``torch.save``; no code of the file runs.

    Args:
        path: The file; any path that iopath can fetch.

    Raises:
        CheckpointError: If the file is missing, cannot be fetched, is damaged, or is not a checkpoint.
    """
    file = fetch_checkpoint(path)
    if not file.is_file():
        raise CheckpointError(
            f"{path} is not a file: give a checkpoint or a run folder; for a prefix such as "
            f"s3:// iopath needs a handler.{zoo_hint(str(path))}"
        )
    # A cache may have renamed the file.
    if ".safetensors" in (file.suffix, PurePosixPath(path).suffix):
        tensors, texts = read_safetensors(file)
        checkpoint = Checkpoint(_tensors(tensors, str(file)), dict(texts))
    else:
        checkpoint = split_checkpoint(read_torch_file(file), path=str(file))
    check_version(checkpoint.metadata, path=str(path))
    return replace(checkpoint, path=str(path))


def check_version(metadata: Mapping[str, Any], *, path: str) -> None:
    """Refuse a checkpoint that a newer version of this library has written.

    Raises:
        NewerCheckpointError: If the checkpoint is newer.
    """
    version = metadata.get("format")
    if type(version) is int and version > FORMAT:
        raise NewerCheckpointError(
            f"{path} has format {version}, this version reads up to {FORMAT}: update tsn_tsm_plugin."
        )


def fetch_checkpoint(path: str | Path) -> Path:
    """Return the local path of a file or folder; fetch it first if it is remote.

    Args:
        path: Any path that iopath can fetch, or a row of the model zoo such as ``"zoo:tsm/k400_r50_8f"``.

    Raises:
        CheckpointError: If the path cannot be fetched.
    """
    if str(path).startswith(PREFIX):
        return fetch_zoo_file(str(path))
    try:
        return Path(local_path(str(path)))
    except Exception as error:  # Handlers pass on the exceptions of their storage libraries.
        raise CheckpointError(
            f"{path} cannot be fetched ({type(error).__name__}: {first_line(error)}): check the address and "
            "your access to it, or give a file of this machine."
        ) from error


def split_checkpoint(content: Any, *, path: str = "") -> Checkpoint:
    """Separate the tensors of a loaded checkpoint from its metadata.

    Raises:
        CheckpointError: If it holds no state dict, or a state dict with values that are not tensors.
    """
    source = path or "The checkpoint"
    if isinstance(content, Stub):
        raise CheckpointError(
            f"{source} holds an object of the class {content.name}, which is not loaded: save the state dict "
            "of the model, torch.save(model.state_dict(), PATH)."
        )
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{source} must hold a dictionary of tensors, got {type(content).__name__}.")
    for key in _STATE_DICT_KEYS:
        if isinstance(content.get(key), Mapping):
            metadata = {name: value for name, value in content.items() if name != key}
            return Checkpoint(_tensors(content[key], source), metadata, path)
    return Checkpoint(_tensors(content, source), {}, path)


def _tensors(content: Mapping[Any, Any], source: str) -> dict[str, Tensor]:
    # PyTorch writes None for a module whose get_extra_state returns None.
    content = {k: v for k, v in content.items() if v is not None or not str(k).endswith("_extra_state")}
    strange = [
        key for key, value in content.items() if not isinstance(key, str) or not isinstance(value, Tensor)
    ]
    if not content or len(strange) == len(content):
        raise CheckpointError(
            f"{source} holds no state dict: expected tensors by name, or a dictionary with one of the keys "
            f"{', '.join(_STATE_DICT_KEYS)}, got {_shown(content, strange) or 'nothing'}."
        )
    if strange:
        raise CheckpointError(
            f"{source} holds values that are not tensors among the weights: {_shown(content, strange)}. "
            "Save the state dict of the model with tensors alone."
        )
    return dict(content)


def _shown(content: Mapping[Any, Any], keys: list[Any]) -> str:
    return ", ".join(f"{ascii(key)[:60]} ({_kind(content[key])})" for key in keys[:5])


def _kind(value: Any) -> str:
    return f"{value!r}, {value.reason}".rstrip(" ,") if isinstance(value, Stub) else type(value).__name__
