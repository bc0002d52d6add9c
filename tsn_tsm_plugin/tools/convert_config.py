"""Turn an MMAction2 config of TSN or TSM into a recipe.

    python -m tsn_tsm_plugin.tools.convert_config tsm_r50_1x1x8_50e_kinetics400_rgb.py > recipe.yaml

The file is read, never run; its bases are found as the original finds them. What was not carried over, and
what had to be assumed, is said on standard error and stands at the top of the recipe.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tsn_tsm_plugin.atomic_files import write_text_atomically
from tsn_tsm_plugin.tools.command import ToolParser, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = ToolParser("convert_config", __doc__)
    parser.add_argument("config", type=Path, help="the config file, .py")
    parser.add_argument("--out", type=Path, metavar="FILE", help="recipe to write; default: standard output")
    parser.add_argument(
        "--num-gpus", type=int, default=8, metavar="N", help="the config was meant for (default: 8)"
    )
    parser.add_argument(
        "--mmaction2-configs",
        type=Path,
        metavar="FOLDER",
        help="configs of MMAction2, for bases such as mmaction::_base_/default_runtime.py",
    )
    args = parser.parse_args(argv)
    return run_command(lambda: _convert(args))


def _convert(args: argparse.Namespace) -> None:
    from tsn_tsm_plugin.errors import ConfigError
    from tsn_tsm_plugin.migrate.mmaction2.python_literals import read_literals
    from tsn_tsm_plugin.migrate.mmaction2.recipe import convert_settings
    from tsn_tsm_plugin.migrate.mmaction2.write_recipe import recipe_text

    literals = read_literals(args.config, library=args.mmaction2_configs)
    try:
        recipe = convert_settings(literals.settings, num_gpus=args.num_gpus, helpers=literals.helpers)
    except ConfigError as error:
        raise ConfigError(f"{args.config}: {error}") from error
    notes = [f"not read: {skipped}" for skipped in literals.skipped] + recipe.notes
    text, faults = recipe_text(recipe.values, title=f"Converted from {args.config.name}.", notes=notes)
    for line in [*notes, *faults]:
        print(line, file=sys.stderr)
    if args.out:
        write_text_atomically(args.out, text)
    else:
        print(text, end="")


if __name__ == "__main__":
    sys.exit(main())
