"""ConfigDict, section, pop_typed, ignore, at, ...: dictionaries of a config, with the lines of their items.

Readers pop the settings that they convert. Unknown settings and unexpected values remain, and
:func:`report_unconverted` reports them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tsn_tsm_plugin.errors import ConfigError

Settings = dict[str, Any]


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


def section(settings: Settings, name: str) -> Settings:
    """Return the dictionary of that name, without a copy; empty if missing.

    Raises:
        ConfigError: If something else has that name.
    """
    value = settings.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{name} must be a dictionary, got {value!r}. Correct the config or its bases.")
    return value


def sections(settings: Settings, name: str) -> list[Settings]:
    """Return the list of dictionaries of that name, without a copy; empty if missing.

    Raises:
        ConfigError: If something else has that name.
    """
    value = settings.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ConfigError(
            f"{name} must be a list of dictionaries, got {value!r}. Correct the config or its bases."
        )
    return value


def pop_typed(settings: Settings, name: str, *kinds: type) -> Any:
    """Pop a setting of a type.

    A value of another type stays, is reported at the end and counts as missing."""
    value = settings.get(name)
    is_asked_for = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    if value is None or is_asked_for:
        settings.pop(name, None)
        return value
    return None


def pop_number(settings: Settings, name: str, usual: float | None = None) -> Any:
    """Pop a number, as :func:`pop_typed`; return ``usual`` if it is missing."""
    number = pop_typed(settings, name, int, float)
    return usual if number is None else number


def pop_list(settings: Settings, name: str, *kinds: type) -> list[Any] | None:
    """Pop a list of values of these types, as :func:`pop_typed`."""
    value = settings.get(name)
    if isinstance(value, list) and all(isinstance(each, kinds) for each in value):
        settings.pop(name)
        return value
    return None


def ignore(settings: Settings, *names: str, **usual: tuple[Any, ...]) -> None:
    """Remove settings without effect here.

    Args:
        settings: Settings of the config.
        names: Names of settings without effect, whatever their value.
        usual: Values without effect, by name: the behaviour here.
    """
    for name in names:
        settings.pop(name, None)
    for name, values in usual.items():
        if name in settings and settings[name] in values:
            del settings[name]


def at(settings: Settings, *names: str) -> str:
    """Return where the first of these settings stands, as `` (FILE:LINE)``; empty if unknown.

    Popped settings keep their location.
    """
    lines = getattr(settings, "lines", {})
    return next((f" ({lines[name]})" for name in names if name in lines), "")


def report_unconverted(settings: Settings, notes: list[str], *, prefix: str = "") -> None:
    """Report and remove every remaining setting, with its location."""
    notes += [
        f"not carried over: {name} = {value!r}{place}" for name, value, place in _leaves(settings, prefix)
    ]
    settings.clear()


def _leaves(value: Any, prefix: str, place: str = "") -> Iterator[tuple[str, Any, str]]:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _leaves(each, f"{prefix}.{name}" if prefix else str(name), at(value, name) or place)
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for index, each in enumerate(value):
            yield from _leaves(each, f"{prefix}[{index}]", place)
    elif value not in ({}, [], None):
        yield prefix, value, place
