"""check_is_free: refuse options of sbatch that the launcher sets itself."""

import re
from collections.abc import Iterable

from ..errors import LaunchError

_LOGS = "logs lie in the run folder: set OUTPUT_DIR"
_SIZE = "use --nodes, --tasks-per-node and --gpus-per-node"
# Options of sbatch that the launcher sets itself, with the user's way to set them.
_OWNED = {
    "array": "use --sweep, or the command `evaluate` with several weights",
    "output": _LOGS,
    "error": _LOGS,
    "open-mode": _LOGS,
    "signal": "use --signal-delay",
    "export": "every process gets the whole environment; add to it by --env KEY=VALUE",
    "export-file": "use --env KEY=VALUE",
    "job-name": "use --name",
    "ntasks": _SIZE,
    "ntasks-per-node": _SIZE,
    "ntasks-per-gpu": _SIZE,
    "gpus": _SIZE,
    "gpus-per-task": _SIZE,
    "distribution": "ranks fill one node after the other",
    "cpus-per-gpu": "use --cpus-per-task",
    "requeue": "interrupted jobs are requeued; --max-requeues limits how often",
    "no-requeue": "use --max-requeues 0",
    "parsable": "the job id alone is printed on stdout",
    "wait": "use the launcher's --wait",
    "wrap": "use --setup",
    "test-only": "use --dry-run",
}


def check_is_free(key: str, value: str, *, flags: Iterable[str]) -> None:
    """Refuse an option of sbatch that the launcher writes itself, and name the way to set it.

    Args:
        key: The option, without leading dashes.
        value: Value of the option.
        flags: Names of the launcher's own options.

    Raises:
        LaunchError: If the launcher writes this option.
    """
    if not re.fullmatch(r"[A-Za-z][\w\-]*", key, re.ASCII):
        raise LaunchError(f"--sbatch must name an option of sbatch, got {key!r}.")
    name = key.replace("_", "-")
    owned = {flag.replace("_", "-") for flag in flags} - {"sbatch", "env", "setup"}
    if name in owned:
        way = f"use --{name}"
    elif name in _OWNED:
        way = _OWNED[name]
    elif name == "gres" and "gpu" in value:
        way = "use --gpus-per-node TYPE:NUMBER"
    else:
        return
    raise LaunchError(f"--sbatch {key} would break what the launcher asks for: {way}.")
