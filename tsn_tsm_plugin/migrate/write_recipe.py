"""recipe_text: the keys that differ from the schema's defaults, as YAML for ``load_cfg``."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tsn_tsm_plugin.config.defaults import KEYS
from tsn_tsm_plugin.config.load import load_cfg
from tsn_tsm_plugin.config.yaml_text import RecipeDumper
from tsn_tsm_plugin.errors import ConfigError

_WIDTH = 110


def recipe_text(values: Mapping[str, Any], *, title: str, notes: Sequence[str] = ()) -> tuple[str, list[str]]:
    """Return a recipe and its faults.

    Args:
        values: Values by dotted key; values equal to the default are skipped.
        title: First line of the header comment.
        notes: Further lines of the comment.

    Returns:
        The YAML text, and a list with the error message of ``load_cfg``, empty if the text is valid.
    """
    tree: dict[str, Any] = {}
    for key, value in sorted(values.items()):
        *parents, name = key.split(".")
        if value == KEYS[key].default:
            continue
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    comment = [f"# {line}" for note in (title, *notes) for line in textwrap.wrap(note, _WIDTH - 2)]
    body = yaml.dump(tree, Dumper=RecipeDumper, sort_keys=False, width=_WIDTH) if tree else ""
    text = "\n".join(comment) + "\n" + body
    try:
        load_cfg("recipe", text=text)
    except ConfigError as error:
        return text, [str(error)]
    return text, []
