"""to_safetensors and read_safetensors: weights with fingerprints, compared at every load."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tsn_tsm_plugin.checkpoints.weights_hash import weights_hash
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
