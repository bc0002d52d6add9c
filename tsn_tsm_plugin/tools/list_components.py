"""Print the components of this plugin and of every installed third party.

python -m tsn_tsm_plugin.tools.list_components [--kind backbone] [--json]
"""

import argparse
import dataclasses
import json
import sys

from tabulate import tabulate

from tsn_tsm_plugin.errors import PluginError
from tsn_tsm_plugin.pytorchvideo_patch.activate import list_components
from tsn_tsm_plugin.registry import REGISTRIES, ComponentEntry


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code, 1 where the package is not installed."""
    parser = argparse.ArgumentParser(prog="list_components", description="List every component by its name.")
    parser.add_argument("--kind", default="", choices=list(REGISTRIES), help="list one kind only")
    parser.add_argument("--json", action="store_true", help="print JSON rows instead of a table")
    arguments = parser.parse_args(argv)
    try:
        entries = list_components(arguments.kind)
    except PluginError as error:
        print(error, file=sys.stderr)
        return 1
    rows = [dataclasses.asdict(entry) for entry in entries]
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        header = [field.name for field in dataclasses.fields(ComponentEntry)]
        print(tabulate([list(row.values()) for row in rows], headers=header, tablefmt="plain"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
