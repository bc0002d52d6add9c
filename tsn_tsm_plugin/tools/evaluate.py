"""Test weights on a recipe: ``python -m tsn_tsm_plugin.tools.evaluate --cfg FILE [KEY VALUE ...]``.

Without ``--weights`` the newest checkpoint of the run folder is tested. On several devices:
``torchrun --nproc-per-node N -m tsn_tsm_plugin.tools.evaluate --cfg FILE``.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tsn_tsm_plugin.tools.command import ToolParser, add_recipe_arguments, read_recipe, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = ToolParser("evaluate", __doc__)
    add_recipe_arguments(parser)
    parser.add_argument("--weights", metavar="FILE", help="weights to test; TEST.CHECKPOINT_FILE_PATH")
    parser.add_argument(
        "--dump", metavar="FILE", help="write the scores of every video and view: .pkl, .json or .csv"
    )
    args = parser.parse_intermixed_args(argv)

    # Imported after the arguments: --help and mistakes need not wait for torch.
    from tsn_tsm_plugin.engine import evaluate

    overrides = ["TEST.CHECKPOINT_FILE_PATH", args.weights] if args.weights else []
    if args.dump:
        overrides += ["TEST.SAVE_RESULTS_PATH", str(Path(args.dump).absolute())]
    return run_command(lambda: evaluate(read_recipe(args, *overrides)))


if __name__ == "__main__":
    sys.exit(main())
