"""Test weights on a recipe: ``tsn-tsm-evaluate --cfg FILE [KEY VALUE ...]``.

Without ``--weights`` the newest checkpoint of the run folder is tested. On several devices:
``torchrun --nproc-per-node N -m tsn_tsm_plugin.tools.evaluate --cfg FILE``.
"""

import argparse
import sys
from collections.abc import Sequence

from tsn_tsm_plugin.tools.arguments import path_here
from tsn_tsm_plugin.tools.command import (
    ToolParser,
    add_checkpoint_arguments,
    add_recipe_arguments,
    read_recipe,
    run_command,
    weights_override,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = ToolParser("evaluate", __doc__)
    add_recipe_arguments(parser)
    add_checkpoint_arguments(parser, "checkpoint or run folder to test; TEST.CHECKPOINT_FILE_PATH")
    parser.add_argument(
        "--out",
        type=path_here,
        metavar="FOLDER",
        help="folder of the results (default: OUTPUT_DIR/evaluate/TIME); TEST.OUTPUT_DIR",
    )
    parser.add_argument(
        "--dump", type=path_here, help="write the scores of every video and view: .pkl, .json or .csv"
    )
    args = parser.parse_intermixed_args(argv)
    return run_command(lambda: _evaluate(args), inputs=[args.weights])


def _evaluate(args: argparse.Namespace) -> None:
    overrides = weights_override(args, "TEST.CHECKPOINT_FILE_PATH")
    if args.dump:
        overrides += ["TEST.SAVE_RESULTS_PATH", str(args.dump.absolute())]
    if args.out:
        overrides += ["TEST.OUTPUT_DIR", str(args.out)]
    cfg = read_recipe(args, *overrides)

    # Import late, so that --help, usage errors and faults of the recipe do not wait for torch.
    from tsn_tsm_plugin.engine import evaluate

    evaluate(cfg)


if __name__ == "__main__":
    sys.exit(main())
