"""to_safetensors, read_safetensors, weights_hash: weights with fingerprints, compared at every load."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tsn_tsm_plugin.errors import CheckpointError

_OF_TENSORS = "weights_hash"
_OF_TEXTS = "metadata_hash"


def to_safetensors(
    tensors: Mapping[str, Tensor],
    *,
    attributes: Mapping[str, Any],
    config: str = "",
    class_names: Sequence[str] = (),
) -> bytes:
    """Return the content of a safetensors file, with fingerprints of tensors and texts.

    Args:
        tensors: Tensors by name, on any device.
        attributes: Result of :func:`~tsn_tsm_plugin.checkpoints.metadata.attributes_of_model`.
        config: The recipe, YAML; empty: unknown.
        class_names: Names in the label map; empty: unknown.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    texts = {"facts": json.dumps(dict(attributes)), "class_names": json.dumps(list(class_names))}
    texts |= {"format": "pt", "config": config, _OF_TENSORS: weights_hash(state)}
    return save(state, metadata={**texts, _OF_TEXTS: _hash_of_texts(texts)})


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the texts of a safetensors file.

    Raises:
        CheckpointError: If the file is cut off, or if a fingerprint differs from its content.
    """
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            texts = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = ascii(str(error).partition("\n")[0])[1:-1][:200]
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({reason}): fetch it again."
        ) from error
    # Files of other libraries have no fingerprints.
    of_texts = texts.pop(_OF_TEXTS, None)
    if of_texts not in (None, _hash_of_texts(texts)) or texts.get(_OF_TENSORS) not in (
        None,
        weights_hash(tensors),
    ):
        raise CheckpointError(f"{path} is damaged: its content differs from its fingerprint. Fetch it again.")
    return tensors, texts


def _hash_of_texts(texts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(texts.items())).encode()).hexdigest()


def weights_hash(state_dict: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, types, shapes and values, in the order of the names.

    A checkpoint, its ``best.pt`` and the ``weights.safetensors`` of one step have the same hash.

    Example:
        >>> weights_hash({"w": torch.zeros(2)})[:12]
        'c54171aeb4bd'

    Args:
        state_dict: Tensors by name, on any device.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = state_dict[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_in_file(path: Path) -> str:
    """Return the hash that a ``.safetensors`` file carries, without reading its tensors; empty if none."""
    if not path.is_file():
        return ""
    try:
        with safe_open(str(path), framework="pt") as file:
            return str((file.metadata() or {}).get(_OF_TENSORS, ""))
    except (OSError, SafetensorError):
        return ""
