"""Publish weights: a safetensors file with its recipe, and a model card.

    tsn-tsm-publish --weights runs/tsm/motion_r18_8f --out published/motion_r18_8f

Both may be URLs: ``--out hf://USER/NAME`` uploads to the Hugging Face hub, with the login of ``hf auth``.
The published file needs nothing else:
``tsn-tsm-predict --weights published/motion_r18_8f VIDEO``.
"""

import argparse
import sys
from collections.abc import Sequence

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.paths import join
from tsn_tsm_plugin.tools.command import ToolParser, run_command
from tsn_tsm_plugin.tools.trained_command import add_weights_arguments, load_from_arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = ToolParser("publish", __doc__)
    add_weights_arguments(parser)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder, or URL: hf://USER/NAME")
    parser.add_argument("--results", metavar="FILE", help="results.json for the card (default: the run's)")
    parser.add_argument(
        "--license", default="", metavar="NAME", help="licence of the weights, such as cc-by-4.0"
    )
    args = parser.parse_args(argv)
    return run_command(lambda: _publish(args), inputs=[args.weights])


def _publish(args: argparse.Namespace) -> None:
    from tsn_tsm_plugin.inference.export.model_card import publish, read_matching_results
    from tsn_tsm_plugin.log import setup_logging

    setup_logging(quiet=True)
    if not args.out.strip("/"):
        raise ConfigError(f"--out must name a folder for the files, got {args.out!r}.")
    trained = load_from_arguments(args)
    named = args.results is not None
    results = read_matching_results(
        trained, args.results if named else join(args.weights, "results.json"), is_named=named
    )
    for path in publish(trained, args.out.rstrip("/"), results=results, licence=args.license):
        print(path)


if __name__ == "__main__":
    sys.exit(main())
