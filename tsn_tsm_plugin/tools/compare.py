"""Compare runs side by side: ``tsn-tsm-compare RUN RUN ...``."""

import sys
from collections.abc import Sequence

from tsn_tsm_plugin.tools.arguments import path_here
from tsn_tsm_plugin.tools.command import ToolParser, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = ToolParser("compare", __doc__)
    parser.add_argument("runs", nargs="+", type=path_here, metavar="RUN", help="run folder")
    args = parser.parse_args(argv)

    # Import late, so that --help and usage errors do not wait for torch.
    from tsn_tsm_plugin.runs.compare_runs import compare_runs

    return run_command(lambda: print(compare_runs(args.runs)))


if __name__ == "__main__":
    sys.exit(main())
