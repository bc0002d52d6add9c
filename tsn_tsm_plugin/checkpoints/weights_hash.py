"""weights_hash, hash_in_file: the identity of trained weights, independent of the file format."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor


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
            return str((file.metadata() or {}).get("weights_hash", ""))
    except (OSError, SafetensorError):
        return ""
