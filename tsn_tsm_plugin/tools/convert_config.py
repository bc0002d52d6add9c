"""Convert a config of another codebase into a recipe.

    tsn-tsm-convert-config tsm_r50_1x1x8_50e_kinetics400_rgb.py > recipe.yaml
    tsn-tsm-convert-config SLOW_8x8_R50.yaml --out recipe.yaml
    tsn-tsm-convert-config --command "python main.py something RGB --shift"

MMAction2's configs (.py) are parsed, never run; their base files are resolved as in MMAction2. YAML files
are SlowFast's configs. Commands and shell scripts call mit-han-lab's main.py. Settings that are assumed or
not converted are reported on standard error and at the top of the recipe.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tsn_tsm_plugin.atomic_files import write_text_atomically
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.paths import is_url
from tsn_tsm_plugin.tools.arguments import path_here
from tsn_tsm_plugin.tools.command import ToolParser, run_command

if TYPE_CHECKING:
    from tsn_tsm_plugin.migrate.recipe import Recipe


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = ToolParser("convert_config", __doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("config", nargs="?", help=".py, .yaml or a shell script, .sh; a URL if it is no .py")
    source.add_argument("--command", metavar="TEXT", help="training command of mit-han-lab's main.py")
    parser.add_argument("--out", type=path_here, help="recipe to write (default: standard output)")
    parser.add_argument("--num-gpus", type=int, default=8, help="GPUs of an MMAction2 config")
    parser.add_argument(
        "--num-videos",
        type=int,
        help="videos of the training list, to turn MMAction2's iterations into epochs",
    )
    parser.add_argument(
        "--mmaction2-configs",
        type=path_here,
        metavar="FOLDER",
        help="configs of MMAction2, for bases such as mmaction::_base_/default_runtime.py",
    )
    args = parser.parse_args(argv)
    return run_command(lambda: _convert(args))


def _convert(args: argparse.Namespace) -> None:
    recipe = _read(args)
    title = f"Converted from {PurePosixPath(args.config).name if args.config else 'a command of main.py'}."
    text, faults = recipe.text(title)
    for line in [*recipe.notes, *faults]:
        print(line, file=sys.stderr)
    if args.out:
        write_text_atomically(args.out, text)
    else:
        print(text, end="")


def _read(args: argparse.Namespace) -> "Recipe":
    from tsn_tsm_plugin.migrate.mit_han_lab import convert_command
    from tsn_tsm_plugin.migrate.mmaction2.config_bases import read_source
    from tsn_tsm_plugin.migrate.mmaction2.convert import convert_file
    from tsn_tsm_plugin.migrate.slowfast import convert_slowfast

    if args.command is not None:
        return convert_command(args.command)
    suffix = PurePosixPath(args.config).suffix
    if suffix in (".yaml", ".yml"):
        return convert_slowfast(args.config)
    if suffix == ".sh":
        return convert_command(read_source(args.config, []))
    if is_url(args.config):
        raise ConfigError(
            f"{args.config}: an MMAction2 config must be a file of this machine, beside its base files. Run "
            "`git clone https://github.com/open-mmlab/mmaction2` and give its path there."
        )
    numbers = {"num_gpus": args.num_gpus, "num_videos": args.num_videos}
    return convert_file(Path(args.config), library=args.mmaction2_configs, **numbers)


if __name__ == "__main__":
    sys.exit(main())
