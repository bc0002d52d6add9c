"""Print what a bug report needs: versions, machine, decoders, state of the code.

    tsn-tsm-environment [--json]

It holds no paths, host names or command lines.
"""

import json
import sys
from collections.abc import Sequence

from tsn_tsm_plugin.tools.command import ToolParser, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = ToolParser("environment", __doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    args = parser.parse_args(argv)

    def work() -> None:
        from tsn_tsm_plugin.runs.run_folder import describe_for_report

        found = describe_for_report()
        if args.json:
            print(json.dumps(found, indent=2))
            return
        for title, value in found.items():
            print(f"{title:<24}{value}")

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
