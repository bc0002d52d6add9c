"""Write a recipe: the keys that differ from the schema's defaults, as YAML that ``load_cfg`` reads."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tsn_tsm_plugin.config.defaults import get_cfg
from tsn_tsm_plugin.config.load import load_cfg
from tsn_tsm_plugin.config.node import CfgNode
from tsn_tsm_plugin.config.yaml_text import RecipeDumper
from tsn_tsm_plugin.errors import ConfigError

_WIDTH = 110


def recipe_text(values: Mapping[str, Any], *, title: str, notes: Sequence[str] = ()) -> tuple[str, list[str]]:
    """Return a recipe and what is wrong with it.

    Args:
        values: By dotted key. What equals the default is left out.
        title: First line of the comment on top.
        notes: Further lines of it.

    Returns:
        The YAML text, and a list with the message of ``load_cfg``, empty if it reads the text.
    """
    schema = get_cfg()
    tree: dict[str, Any] = {}
    for key, value in sorted(values.items()):
        *parents, name = key.split(".")
        if value == _default(schema, key):
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


def _default(schema: CfgNode, key: str) -> Any:
    node: Any = schema
    for name in key.split("."):
        node = node[name]
    return node
