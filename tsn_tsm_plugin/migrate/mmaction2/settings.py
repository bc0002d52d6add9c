"""What all readers of an MMAction2 config share: what is understood is taken out, what is left is said.

A reader never looks at a setting without taking it out. So a setting that nobody knows, or that has a value
nobody expected, is still there at the end, and :func:`say_what_is_left` names it.
"""

from collections.abc import Iterator
from typing import Any

from tsn_tsm_plugin.errors import ConfigError

Settings = dict[str, Any]


def section(settings: Settings, name: str) -> Settings:
    """Return the dictionary of that name, itself and not a copy; an empty one where there is none.

    Raises:
        ConfigError: If something else has that name.
    """
    value = settings.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{name} must be a dictionary, got {value!r}. Mend it in the config or its bases.")
    return value


def sections(settings: Settings, name: str) -> list[Settings]:
    """Return the list of dictionaries of that name, itself; an empty one where there is none.

    Raises:
        ConfigError: If something else has that name.
    """
    value = settings.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ConfigError(
            f"{name} must be a list of dictionaries, got {value!r}. Mend it in the config or its bases."
        )
    return value


def take(settings: Settings, name: str, *kinds: type) -> Any:
    """Take a setting out; one of another kind stays, to be said at the end, and counts as missing."""
    value = settings.get(name)
    is_asked_for = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    if value is None or is_asked_for:
        settings.pop(name, None)
        return value
    return None


def take_number(settings: Settings, name: str) -> float | int | None:
    """Take a number out, as :func:`take`."""
    number: float | int | None = take(settings, name, int, float)
    return number


def take_list(settings: Settings, name: str, *kinds: type) -> list[Any] | None:
    """Take a list of things of these kinds out, as :func:`take`."""
    value = settings.get(name)
    if isinstance(value, list) and all(isinstance(each, kinds) for each in value):
        settings.pop(name)
        return value
    return None


def drop(settings: Settings, *names: str, **usual: tuple[Any, ...]) -> None:
    """Take out what makes no difference here.

    Args:
        settings: To take from.
        names: Of settings that make none, whatever their value.
        usual: By name, the values that make none, being what always happens here.
    """
    for name in names:
        settings.pop(name, None)
    for name, values in usual.items():
        if name in settings and settings[name] in values:
            del settings[name]


def say_what_is_left(settings: Settings, notes: list[str], *, prefix: str = "") -> None:
    """Name every setting that is still there, and take it out."""
    notes += [f"not carried over: {name} = {value!r}" for name, value in _leaves(settings, prefix)]
    settings.clear()


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _leaves(each, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for place, each in enumerate(value):
            yield from _leaves(each, f"{prefix}[{place}]")
    elif value not in ({}, [], None):
        yield prefix, value
