"""coerce: convert a written value to the schema's type, or explain why it does not fit."""

from collections.abc import Collection
from typing import Any

from tsn_tsm_plugin.config.node import OptionsNode, plain
from tsn_tsm_plugin.paths import NO_PATH

_WORDS = {"true": True, "false": False}


class WrongTypeError(ValueError):
    """A value does not fit its key; the message gives the accepted type."""


def coerce(value: Any, text: str | None, default: Any) -> Any:
    """Return ``value`` as the type of ``default``.

    A float key takes ``1`` and ``1e-4``; an int key takes ``50.0``; a bool key takes
    ``true``/``false`` in any case; a string key takes the source text, even if YAML reads a number or a word
    like ``on``. Lists and tuples are equivalent; their items are coerced to the type of the default's items.
    A node of options takes a mapping whose names can be keyword arguments.

    Args:
        value: Value as YAML parsed it.
        text: Source text, for a plain value.
        default: The value in the schema.

    Raises:
        WrongTypeError: If the value cannot be converted.
    """
    if isinstance(default, OptionsNode):
        return _options({} if value is None else value)
    if isinstance(default, bool):
        return _bool(value, text)
    if isinstance(default, int):
        return _int(value)
    if isinstance(default, float):
        return _float(value)
    if isinstance(default, str):
        return _str(value, text)
    return _sequence(value, default)


def named_options(item: Any, entry_keys: Collection[str] = ()) -> tuple[str, dict[str, Any]]:
    """Return the name and the keyword arguments of an item of a list of components.

    Args:
        item: A name, or a mapping with the keys ``name`` and, if needed, ``options``.
        entry_keys: Further keys that the mapping may have.

    Raises:
        WrongTypeError: If the item has another form.
    """
    if isinstance(item, str):
        return item, {}
    entry = {str(key).lower(): plain(value) for key, value in item.items()} if isinstance(item, dict) else {}
    name, options = entry.pop("name", None), entry.pop("options", None) or {}
    if set(entry) - set(entry_keys) or not isinstance(name, str) or not isinstance(options, dict):
        raise WrongTypeError(
            f"must hold names, or mappings such as {{name: NAME, options: {{size: 8}}}}, got {plain(item)!r}"
        )
    return name, options


def _bool(value: Any, text: str | None) -> bool:
    word = (text or str(value)).lower()
    if isinstance(value, bool) or word in _WORDS:
        return value if isinstance(value, bool) else _WORDS[word]
    raise WrongTypeError(f"must be true or false, got {value!r}")


def _int(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise WrongTypeError(f"must be an integer, got {value!r}")


def _float(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise WrongTypeError(f"must be a number, got {value!r}")


def _str(value: Any, text: str | None) -> str:
    found = value if text is None else text
    if not isinstance(found, str):
        raise WrongTypeError(f"must be text, got {value!r}")
    if NO_PATH.search(found):
        raise WrongTypeError(f"must be text without NUL and incomplete characters, got {found!r}")
    return found


def _options(value: Any) -> Any:
    """Return mappings as nodes of options, at any depth."""
    if isinstance(value, list | tuple):
        return [_options(item) if isinstance(item, dict | list) else item for item in value]
    if not isinstance(value, dict):
        raise WrongTypeError(f"must hold keyword arguments, as {{name: value}}, got {value!r}")
    names = [name for name in value if not isinstance(name, str)]
    if names:
        raise WrongTypeError(f"must have words for names, got {names[0]!r}")
    node = OptionsNode()
    for name, item in value.items():
        node[name] = _options(item) if isinstance(item, dict | list) else item
    return node


def _sequence(value: Any, default: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise WrongTypeError(f"must be a list such as {list(default)!r}, got {value!r}")
    if not default or isinstance(default[0], list | tuple):
        return _options(list(value))
    if isinstance(default[0], str) and any(isinstance(item, dict) for item in value):
        return _options(list(value))  # Components, each a name or a name with options.
    return [coerce(item, item if isinstance(item, str) else None, default[0]) for item in value]
