"""CODE_ROOT, LAUNCHER: where the code of a job lies.

The launcher runs from a checkout as ``launch``, or installed as ``tsn_tsm_plugin.launcher``.
"""

from pathlib import Path

_HERE = Path(__file__).resolve().parent

CODE_ROOT = _HERE.parent if _HERE.name == "launch" else _HERE.parents[1]
"""Folder that comes first on the path of every rank."""

LAUNCHER = _HERE.relative_to(CODE_ROOT)
"""The launcher's folder below ``CODE_ROOT`` or a copy of it."""
