"""Train and evaluate a recipe, on this machine or on SLURM: ``python launch/submit.py --cfg RECIPE``.

Runs from a checkout, or installed as ``tsn-tsm-submit``. ``--help`` lists the options; ``launch/README.md``
shows a first job.
"""

import importlib
import importlib.metadata
import signal
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_IS_CHECKOUT = _HERE.name == "launch"


def obstacle() -> str:
    """Return a sentence about why the launcher cannot run, or an empty text."""
    if not hasattr(signal, "SIGUSR2"):
        return (
            "the launcher needs POSIX signals, which this system does not have. "
            "Train by: tsn-tsm-train --cfg RECIPE"
        )
    for name in ("tsn_tsm_plugin", "submitit"):
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return f"{name} is not installed in {sys.executable}. Run: pip install -e {_HERE.parent}"
    return ""


def main() -> int:
    """Run the command line; return its exit code."""
    fault = obstacle()
    if fault:
        print(f"submit.py: {fault}", file=sys.stderr)
        return 2
    if _IS_CHECKOUT:
        # sys.path starts with this folder, or with the folder of the console script.
        sys.path[0] = str(_HERE.parent)
    package = "launch" if _IS_CHECKOUT else "tsn_tsm_plugin.launcher"
    return int(importlib.import_module(f"{package}.commands.parsers").run(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
