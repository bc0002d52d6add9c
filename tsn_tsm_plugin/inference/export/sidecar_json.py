"""The names of the ``.json`` files that describe other files."""

import json
from pathlib import Path

from tsn_tsm_plugin.errors import ConfigError


def sidecar_json_path(out: Path) -> Path:
    """Return the file that describes ``out``: ``model.json`` for ``model.onnx`` and for ``model.pt2``.

    Where ``model.json`` is somebody else's, it stays: the description of another file that is still there,
    or no description at all. Then it is ``model.onnx.json`` or ``model.pt2.json``. A description says in
    ``file`` whose it is.

    Args:
        out: The file that is described.

    Raises:
        ConfigError: If both names are taken.
    """
    names = [out.with_suffix(".json"), out.with_name(f"{out.name}.json")]
    owners = [_owner(path) for path in names]
    # A file keeps the description it has, so that it never has two.
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
    """Return the name of the file that ``path`` describes; empty if it is no description."""
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    owner = described.get("file") if isinstance(described, dict) else None
    return owner if isinstance(owner, str) else ""
