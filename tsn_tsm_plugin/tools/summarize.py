"""Print recipes as a table of networks, costs and published results.

    tsn-tsm-summarize projects/tsn/*.yaml projects/tsm/*.yaml
    tsn-tsm-summarize projects --markdown projects/README.md

Published numbers come from the recipe's header. All others are counted from the network that the recipe
builds.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tsn_tsm_plugin.atomic_files import write_text_atomically
from tsn_tsm_plugin.config import CfgNode, load_cfg
from tsn_tsm_plugin.config.recipes import published_accuracies
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.paths import read_text
from tsn_tsm_plugin.safe_text import aligned_table, markdown_text
from tsn_tsm_plugin.tools.arguments import path_here
from tsn_tsm_plugin.tools.command import ToolParser, run_command

if TYPE_CHECKING:
    from tsn_tsm_plugin.models.complexity import Complexity

_COLUMNS = ("recipe", "backbone", "frames", "test views", "params", "GFLOPs", "top-1", "top-5")
_BEGIN, _END = "<!-- zoo table: begin -->", "<!-- zoo table: end -->"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return the exit status."""
    parser = ToolParser("summarize", __doc__)
    parser.add_argument("paths", nargs="+", type=path_here, help="recipes, or folders of recipes")
    parser.add_argument("--markdown", type=path_here, help="file whose zoo table is replaced")
    options = parser.parse_args(argv)

    def work() -> None:
        rows = summarize(find_recipes(options.paths))
        print(aligned_table([_COLUMNS, *rows]))
        if options.markdown:
            write_markdown(options.markdown, rows)

    return run_command(work)


def find_recipes(paths: Sequence[Path]) -> list[Path]:
    """Return the recipes among files and folders, in order; base files are skipped.

    Raises:
        ConfigError: If a path does not exist, or no recipe is found.
    """
    recipes: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder.")
        found = sorted(path.rglob("*.yaml")) if path.is_dir() else [path]
        recipes += [
            r for r in found if r == path or (r.parent.name in ("tsn", "tsm") and r.stem != "finetune")
        ]
    recipes = [recipe for recipe in recipes if recipe.parent.name != "base"]
    if not recipes:
        raise ConfigError(f"no recipe found in {', '.join(map(str, paths))}.")
    return recipes


def summarize(recipes: Sequence[Path]) -> list[tuple[str, ...]]:
    """Return one row of `_COLUMNS` per recipe; equal networks are built once."""
    # Import late, so that --help and usage errors do not wait for torch.
    from tsn_tsm_plugin.models.build import complexity_of
    from tsn_tsm_plugin.transforms.build import frames_of_view

    measured: dict[str, Complexity] = {}
    rows = []
    for recipe in recipes:
        cfg = load_cfg(recipe)
        num_frames = frames_of_view(cfg, "test")
        size = cfg.DATA.TEST_CROP_SIZE
        key = f"{cfg.MODEL}{cfg.TSM}{cfg.get('NONLOCAL', '')}{cfg.DATA.MODALITY}{num_frames} {size}"
        if key not in measured:
            measured[key] = complexity_of(cfg)
        rows.append(_row(recipe, cfg, measured[key], num_frames=num_frames))
    return rows


def write_markdown(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    """Replace the table between the two marks of a Markdown file; published weights get a link.

    Raises:
        ConfigError: If the file cannot be read, or the marks are missing.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}). Check the path.") from error
    if _BEGIN not in text or _END not in text:
        raise ConfigError(f"{path}: needs the lines `{_BEGIN}` and `{_END}` to write the table between.")
    # Import late, so that --help and usage errors do not wait for torch.
    from tsn_tsm_plugin.checkpoints.zoo import ZOO

    links = [f"[download]({ZOO[row[0]]})" if row[0] in ZOO else "-" for row in rows]
    table = [(*_COLUMNS, "weights"), ("---",) * (len(_COLUMNS) + 1)]
    table += [(*map(markdown_text, row), link) for row, link in zip(rows, links, strict=True)]
    lines = ["| " + " | ".join(row) + " |" for row in table]
    before, rest = text.split(_BEGIN, 1)
    after = rest.split(_END, 1)[1]
    write_text_atomically(path, f"{before}{_BEGIN}\n" + "\n".join(lines) + f"\n{_END}{after}")


def _row(recipe: Path, cfg: CfgNode, complexity: "Complexity", *, num_frames: int) -> tuple[str, ...]:
    sampling = cfg.DATA.TEST_SAMPLER or cfg.DATA.SAMPLER
    crops = f"{cfg.TEST.NUM_SPATIAL_CROPS} x {cfg.DATA.TEST_CROP_SIZE} px"
    views = f"{sampling} {cfg.TEST.NUM_ENSEMBLE_VIEWS} x {crops}"
    return (
        f"{recipe.parent.name}/{recipe.stem}",
        cfg.MODEL.BACKBONE,
        f"{cfg.DATA.NUM_FRAMES}" + (f", test {num_frames}" if num_frames != cfg.DATA.NUM_FRAMES else ""),
        views,
        f"{complexity.num_parameters:,}",
        f"{complexity.num_operations / 1e9:.2f}",
        *published_accuracies(read_text(recipe)),
    )


if __name__ == "__main__":
    sys.exit(main())
