"""Print the reference page of every config key, as Markdown.

tsn-tsm-list-keys [TRAIN] > projects/keys.md
"""

import json
import sys

from tsn_tsm_plugin.config.defaults import KEYS
from tsn_tsm_plugin.config.key import ON_RESUME, Key
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.tools.command import ToolParser, run_command

_HEADER = """# Every key of a recipe

The table is written by `tsn-tsm-list-keys`. The column
"resume" has the effect of a value that differs from the checkpoint's:
"""


def keys_page(keys: list[Key]) -> str:
    """Return the reference page of some keys, one table for each node."""
    lines = [_HEADER, *(f"- *{word}*: {meaning}." for word, meaning in ON_RESUME.items())]
    for node in dict.fromkeys(_node_of(key) for key in keys):
        rows = [_row(key) for key in keys if _node_of(key) == node]
        lines += [
            "",
            f"## {node}",
            "",
            "| key | default | values | meaning | resume |",
            "| --- " * 5 + "|",
            *rows,
        ]
    return "\n".join(lines) + "\n"


def _node_of(key: Key) -> str:
    return key.name.rpartition(".")[0] or "Run"


def _row(key: Key) -> str:
    cells = (f"`{key.name}`", f"`{json.dumps(key.default)}`", _values(key), key.meaning, key.on_resume)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _values(key: Key) -> str:
    if key.is_options:
        return "keyword arguments"
    if key.component:
        return f"a registered {key.component}"
    kind = {bool: "true or false", int: "integer", float: "number", str: "text", list: "list"}[
        type(key.default)
    ]
    return kind if key.rule is None else f"{kind}; must {key.rule.text}"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code, 1 if no key has that name."""
    parser = ToolParser("list_keys", __doc__)
    parser.add_argument("start", nargs="?", default="", help="prefix of the keys to print, such as TRAIN")
    start = parser.parse_args(argv).start
    keys = [key for key in KEYS.values() if key.name.startswith(start)]

    def work() -> None:
        if not keys:
            raise ConfigError(f"no key starts with {start!r}; run the tool without it to see all keys.")
        print(keys_page(keys), end="")

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
