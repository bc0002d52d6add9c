"""Train and evaluate a recipe, on this machine or on SLURM: ``python launch/submit.py --cfg RECIPE``.

Run from a checkout; ``--help`` lists the options, ``launch/README.md`` shows a first job.
"""

import importlib.metadata
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def missing_package() -> str:
    """Return a sentence about what is not installed, or an empty text."""
    for name in ("tsn_tsm_plugin", "submitit"):
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return f"{name} is not installed in {sys.executable}. Run: pip install -e {CHECKOUT}"
    return ""


def main() -> int:
    """Run the command line; return its exit code."""
    fault = missing_package()
    if fault:
        print(f"submit.py: {fault}", file=sys.stderr)
        return 2
    # A script's own folder comes first on the path, where launch/ would hide as loose modules.
    sys.path[0] = str(CHECKOUT)
    from launch.commands.parsers import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
