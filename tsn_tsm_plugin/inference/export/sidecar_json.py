"""sidecar_json_path: choose the name of the ``.json`` file that describes another file."""

import json
from pathlib import Path

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.paths import read_text


def sidecar_json_path(out: Path) -> Path:
    """Return the file that describes ``out``: ``model.json`` for ``model.onnx`` and for ``model.pt2``.

    If ``model.json`` describes another existing file, or is not a description, it is kept. The result is then
    ``model.onnx.json`` or ``model.pt2.json``. The key ``file`` of a description names the described file.

    Args:
        out: The file that is described.

    Raises:
        ConfigError: If both names are taken.
    """
    names = [out.with_suffix(".json"), out.with_name(f"{out.name}.json")]
    owners = [_owner(path) for path in names]
    # Reuse an existing description, so that a file never has two descriptions.
    for path, owner in zip(names, owners, strict=True):
        if owner == out.name:
            return path
    for path, owner in zip(names, owners, strict=True):
        if not path.exists() or (owner and not path.with_name(owner).exists()):
            return path
    raise ConfigError(
        f"{names[0]} and {names[1]} do not describe {out} and would be lost: remove one of them, or give "
        "another name or folder."
    )


def _owner(path: Path) -> str:
    """Return the name of the file that ``path`` describes; empty if ``path`` is not a description."""
    try:
        described = json.loads(read_text(path))
    except (OSError, ValueError):
        return ""
    owner = described.get("file") if isinstance(described, dict) else None
    return owner if isinstance(owner, str) else ""
