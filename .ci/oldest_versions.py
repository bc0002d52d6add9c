"""Print the oldest version of every package that setup.cfg allows, as constraints for pip."""

import configparser
from pathlib import Path

from packaging.requirements import Requirement

SETUP_CFG = Path(__file__).resolve().parent.parent / "setup.cfg"


def oldest_versions(text: str) -> list[str]:
    """Return ``name==version`` for every requirement and extra of a setup.cfg.

    Raises:
        SystemExit: If a requirement has no lower bound.
    """
    parser = configparser.ConfigParser()
    parser.read_string(text)
    lines = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    pins = []
    for requirement in map(Requirement, filter(None, "\n".join(lines).splitlines())):
        lower = [spec.version for spec in requirement.specifier if spec.operator == ">="]
        if not lower:
            raise SystemExit(f"{requirement} has no lower bound: add the oldest version that works.")
        pins.append(f"{requirement.name}=={lower[0]}")
    return pins


if __name__ == "__main__":
    print("\n".join(oldest_versions(SETUP_CFG.read_text())))
