"""Read a checkpoint file without letting it run code."""

import contextlib
import importlib
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from iopath.common.file_io import g_pathmgr
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tsn_tsm_plugin.errors import CheckpointError

# Where checkpoints keep their tensors: ours and PyTorchVideo's, the references', and others'.
_STATE_DICT_KEYS = ("model_state", "state_dict", "model")
_REFUSED_GLOBAL = re.compile(r"(?:GLOBAL |but got <class ')([\w.]+)")


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file, and what else it says about itself.

    Attributes:
        state_dict: Tensors by name.
        metadata: Everything in the file that is not the state dict; empty for a bare state dict.
        path: The file as it was named; empty where the state dict was given as an object.
    """

    state_dict: dict[str, Tensor]
    metadata: dict[str, Any] = field(default_factory=dict)
    path: str = ""


def read_checkpoint(path: str | Path, *, allow_globals: Sequence[str] = ()) -> Checkpoint:
    """Read a ``.safetensors`` file or a file of ``torch.save``, the latter with ``weights_only=True``.

    Args:
        path: The file; any path that iopath can fetch.
        allow_globals: Full names such as ``"numpy.core.multiarray.scalar"`` that a trusted file may use
            besides tensors and plain Python values.

    Raises:
        CheckpointError: If the file is missing, cannot be fetched, is damaged, not a checkpoint, or asks for
            a global that is not allowed; the message names the global.
    """
    file = fetch_checkpoint(path)
    if not file.is_file():
        raise CheckpointError(
            f"{path} is not a file: give the path of a checkpoint; for a prefix such as s3:// iopath needs a "
            "handler."
        )
    # A cache may have given the file a name of its own.
    if ".safetensors" in (file.suffix, PurePosixPath(path).suffix):
        checkpoint = _read_safetensors(file)
    else:
        checkpoint = split_checkpoint(_read_torch_file(file, allow_globals), path=str(file))
    return replace(checkpoint, path=str(path))


def fetch_checkpoint(path: str | Path) -> Path:
    """Return where a file or folder lies on this machine, fetched first if iopath has to.

    Raises:
        CheckpointError: If it cannot be fetched.
    """
    try:
        return Path(g_pathmgr.get_local_path(str(path)))
    except Exception as error:  # Handlers raise what their storage's library raises.
        raise CheckpointError(
            f"{path} cannot be fetched ({type(error).__name__}: {_first_line(error)}): check the address and "
            "your access to it, or give a file of this machine."
        ) from error


def split_checkpoint(content: Any, *, path: str = "") -> Checkpoint:
    """Separate the tensors of a loaded checkpoint from what else it holds.

    Raises:
        CheckpointError: If there is no state dict in it.
    """
    source = path or "The checkpoint"
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{source} must hold a dictionary of tensors, got {type(content).__name__}.")
    for key in _STATE_DICT_KEYS:
        if isinstance(content.get(key), Mapping):
            metadata = {name: value for name, value in content.items() if name != key}
            return Checkpoint(_tensors(content[key], source), metadata, path)
    return Checkpoint(_tensors(content, source), {}, path)


def _tensors(content: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    strange = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if strange or not content:
        raise CheckpointError(
            f"{source} holds no state dict: expected tensors by name, or a dictionary with one of the keys "
            f"{', '.join(_STATE_DICT_KEYS)}, got {strange[:5] or 'nothing'}."
        )
    return dict(content)


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            state_dict = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}): fetch it again.") from error
    return Checkpoint(_tensors(state_dict, str(path)), metadata, str(path))


def _read_torch_file(path: Path, allow_globals: Sequence[str]) -> Any:
    allowed: list[Any] = [(_import_global(name), name) for name in allow_globals]
    scope = torch.serialization.safe_globals(allowed) if allowed else contextlib.nullcontext()
    try:
        with scope:
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from error
    except Exception as error:  # A damaged file fails in many ways, and each of them means the same.
        raise CheckpointError(
            f"{path} is cut off or not a PyTorch checkpoint ({type(error).__name__}: {_first_line(error)}): "
            "fetch it again."
        ) from error


def _refusal(path: Path, reason: str) -> str:
    refused = _REFUSED_GLOBAL.search(reason)
    if refused is None:
        return f"{path} was not written by torch.save, or is damaged: it cannot be read without running code."
    if "is blocked" in reason:
        return (
            f"{path} tries to run {refused.group(1)!r}: nothing was loaded, and nothing should be; delete it."
        )
    names = tuple(dict.fromkeys([refused.group(1), *_refused_globals(path)]))
    return (
        f"{path} asks for what could run code, so nothing was loaded: {', '.join(names)}. If you trust its "
        f"maker, allow exactly that: allow_globals={names!r} (on the command line --allow-global)."
    )


def _refused_globals(path: Path) -> list[str]:
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # It reads current files only; one name is known already.
        return []


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else "no reason given"


def _import_global(name: str) -> Any:
    module_name, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise CheckpointError(f"allow_globals must hold importable names, got {name!r} ({error}).") from error
