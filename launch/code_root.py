"""CODE_ROOT, LAUNCHER, COMMAND: the code of a job, and the command that starts the launcher.

The launcher runs from a checkout as ``launch``, or installed as ``tsn_tsm_plugin.launcher``.
"""

from pathlib import Path

_HERE = Path(__file__).resolve().parent

CODE_ROOT = _HERE.parent if _HERE.name == "launch" else _HERE.parents[1]
"""Folder that comes first on the path of every rank."""

COMMAND = "python launch/submit.py" if _HERE.name == "launch" else "tsn-tsm-submit"
"""Beginning of the commands that messages name."""

LAUNCHER = _HERE.relative_to(CODE_ROOT)
"""The launcher's folder below ``CODE_ROOT`` or a copy of it."""
