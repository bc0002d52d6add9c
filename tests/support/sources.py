"""modules_where: modules of the package and of the launcher, for contracts about their source."""

from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def modules_where(holds: Callable[[Path], bool]) -> set[str]:
    """Return the modules, as paths below the repository, for whose path a condition holds."""
    modules = [*(ROOT / "tsn_tsm_plugin").rglob("*.py"), *(ROOT / "launch").rglob("*.py")]
    return {str(path.relative_to(ROOT)) for path in modules if holds(path)}
