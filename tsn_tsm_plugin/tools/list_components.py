"""List the components of this plugin and of installed third-party packages.

tsn-tsm-list-components [--kind backbone] [--json]
"""

import dataclasses
import json
import sys

from tabulate import tabulate

from tsn_tsm_plugin.config.defaults import KEYS
from tsn_tsm_plugin.pytorchvideo_patch.activate import list_components
from tsn_tsm_plugin.pytorchvideo_patch.routes import routes_to
from tsn_tsm_plugin.registry import REGISTRIES, ComponentEntry
from tsn_tsm_plugin.tools.command import ToolParser, run_command


def what_reaches(kind: str) -> str:
    """Return the recipe keys that take names of a kind of component."""
    return ", ".join(key.name for key in KEYS.values() if key.component == kind)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit code, 2 if the package is not installed."""
    parser = ToolParser("list_components", __doc__)
    parser.add_argument("--kind", default="", choices=list(REGISTRIES), help="kind of components to list")
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of a table")
    arguments = parser.parse_args(argv)

    def work() -> None:
        rows = [
            dataclasses.asdict(entry)
            | {"key": what_reaches(entry.kind), "pytorchvideo": [str(route) for route in routes_to(entry)]}
            for entry in list_components(arguments.kind)
        ]
        if arguments.json:
            print(json.dumps(rows, indent=2))
        else:
            header = [*(field.name for field in dataclasses.fields(ComponentEntry)), "key", "pytorchvideo"]
            cells = [[*list(row.values())[:-1], _shortened(row["pytorchvideo"])] for row in rows]
            print(tabulate(cells, headers=header, tablefmt="plain"))

    return run_command(work)


def _shortened(routes: list[str]) -> str:
    """Return a table cell: the first route and the number of further routes."""
    more = f" and {len(routes) - 1} more" if len(routes) > 1 else ""
    return f"{routes[0]}{more}" if routes else "-"


if __name__ == "__main__":
    sys.exit(main())
