"""Recipe: a recipe under construction, with its keys and notes, and its text."""

import textwrap
from dataclasses import dataclass, field
from typing import Any

import yaml

from tsn_tsm_plugin.config.defaults import KEYS
from tsn_tsm_plugin.config.load import load_cfg
from tsn_tsm_plugin.config.yaml_text import RecipeDumper
from tsn_tsm_plugin.errors import ConfigError

_WIDTH = 110


@dataclass
class Recipe:
    """A recipe under construction.

    Attributes:
        values: Values by dotted key.
        notes: Sentences on skipped settings and assumptions.
    """

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def set(self, key: str, value: Any) -> None:
        """Set a key, unless the value is missing."""
        if value is not None:
            self.values[key] = value

    def text(self, title: str) -> tuple[str, list[str]]:
        """Return the keys that differ from the schema's defaults as YAML for ``load_cfg``.

        Args:
            title: First line of the header comment; the notes are the others.

        Returns:
            The text, and a list with the error message of ``load_cfg``, empty if the text is valid.
        """
        tree: dict[str, Any] = {}
        for key, value in sorted(self.values.items()):
            *parents, name = key.split(".")
            if value == KEYS[key].default:
                continue
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[name] = value
        comment = [f"# {line}" for note in (title, *self.notes) for line in textwrap.wrap(note, _WIDTH - 2)]
        body = yaml.dump(tree, Dumper=RecipeDumper, sort_keys=False, width=_WIDTH) if tree else ""
        text = "\n".join(comment) + "\n" + body
        try:
            load_cfg("recipe", text=text)
        except ConfigError as error:
            return text, [str(error)]
        return text, []
