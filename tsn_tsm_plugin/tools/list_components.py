"""Print the components of this plugin and of every installed third party.

python -m tsn_tsm_plugin.tools.list_components [--kind backbone] [--json]
"""

import dataclasses
import json
import sys

from tabulate import tabulate

from tsn_tsm_plugin.pytorchvideo_patch.activate import list_components
from tsn_tsm_plugin.registry import REGISTRIES, ComponentEntry
from tsn_tsm_plugin.tools.command import ToolParser, run_command


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit code, 2 if the package is not installed."""
    parser = ToolParser("list_components", __doc__)
    parser.add_argument("--kind", default="", choices=list(REGISTRIES), help="list one kind only")
    parser.add_argument("--json", action="store_true", help="print JSON rows instead of a table")
    arguments = parser.parse_args(argv)

    def work() -> None:
        rows = [dataclasses.asdict(entry) for entry in list_components(arguments.kind)]
        if arguments.json:
            print(json.dumps(rows, indent=2))
        else:
            header = [field.name for field in dataclasses.fields(ComponentEntry)]
            print(tabulate([list(row.values()) for row in rows], headers=header, tablefmt="plain"))

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
