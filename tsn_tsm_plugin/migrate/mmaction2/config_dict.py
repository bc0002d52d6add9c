"""ConfigDict, BaseDict: dictionaries of a config that know the lines of their items."""

from collections.abc import Mapping
from typing import Any


class ConfigDict(dict[Any, Any]):
    """A dictionary with the location of each item.

    Example:
        >>> settings = ConfigDict()
        >>> settings.put("lr", 0.1, "a.py:3")
        >>> settings.pop("lr"), settings.lines
        (0.1, {'lr': 'a.py:3'})

    Attributes:
        lines: ``file:line`` by key, also of items that were popped.
    """

    def __init__(self, *others: Any) -> None:
        super().__init__()
        self.lines: dict[Any, str] = {}
        self.update(*others)

    def put(self, key: Any, value: Any, location: str) -> None:
        """Set an item and its location."""
        self[key] = value
        self.lines[key] = location

    def located_as(self, other: Any) -> "ConfigDict":
        """Take over the locations of another dictionary; return this dictionary."""
        self.lines.update(getattr(other, "lines", {}))
        return self

    def update(self, *others: Any) -> None:  # type: ignore[override]
        """Set every item and its location."""
        for other in others:
            super().update(other)
            self.located_as(other)

    def copy(self) -> "ConfigDict":
        """Return a shallow copy."""
        return type(self)(self)

    __copy__ = copy

    def __or__(self, other: Mapping[Any, Any]) -> "ConfigDict":  # type: ignore[override]
        """Return a copy with the items of the other dictionary."""
        if not isinstance(other, dict):
            return NotImplemented
        return ConfigDict(self, other)


class BaseDict(ConfigDict):
    """A dictionary of a base config, whose ``update`` merges dictionaries in it as mmengine does."""

    def update(self, *others: Any) -> None:  # type: ignore[override]
        """Set every item; merge a dictionary into an existing dictionary of that name."""
        given = ConfigDict(*others)
        for name, value in given.items():
            below = self.get(name)
            if isinstance(below, dict) and isinstance(value, dict):
                below.update(value)
            else:
                self[name] = value
        self.located_as(given)
