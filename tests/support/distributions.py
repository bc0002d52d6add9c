"""write_distribution: write a module and its ``.dist-info`` into a site directory, as pip does."""

from pathlib import Path


def write_distribution(
    site: Path,
    name: str,
    *,
    version: str = "1.0",
    modules: dict[str, str],
    entry_points: dict[str, dict[str, str]],
) -> None:
    """Write ``name`` into ``site``: source by module name, and ``{group: {name: target}}``."""
    for module, source in modules.items():
        (site / f"{module}.py").write_text(source)
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, points in entry_points.items():
        lines += [f"[{group}]", *(f"{point} = {target}" for point, target in points.items()), ""]
    (info / "entry_points.txt").write_text("\n".join(lines))
