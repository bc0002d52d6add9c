"""call_function, call_method, format_value: calls in a config that only compute a small plain value."""

import ast
import copy
import posixpath
import re
import string
from collections.abc import Callable
from typing import Any

from tsn_tsm_plugin.migrate.mmaction2.settings import ConfigDict

MAX_ITEMS = 10_000
MAX_CHARACTERS = 100_000
_MAX_BITS = 256
_PLAIN = str | int | float | None
_LONG_NUMBER = re.compile(r"\d{4}")


class NotHarmlessError(Exception):
    """An expression that would have to be run, or whose value could be large."""


def require(is_harmless: bool) -> None:
    """Raise NotHarmlessError unless the condition holds."""
    if not is_harmless:
        raise NotHarmlessError


def bounded(value: Any) -> Any:
    """Return a value if it is small.

    Raises:
        NotHarmlessError: If the value has more than ``MAX_ITEMS`` items or ``MAX_CHARACTERS`` characters.
    """
    if isinstance(value, str):
        require(len(value) <= MAX_CHARACTERS)
    elif isinstance(value, list | tuple | dict):
        require(len(value) <= MAX_ITEMS)
    elif isinstance(value, int):
        require(value.bit_length() <= _MAX_BITS)
    return value


def check_operands(sign: type, left: Any, right: Any) -> None:
    """Check that an arithmetic operation is between plain values and its result small.

    Raises:
        NotHarmlessError: Otherwise.
    """
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if sign is ast.Pow:
        require(numbers and abs(left) <= 1e6 and abs(right) <= 64)
    if sign is ast.Mod and isinstance(left, str):
        # A width or a star may give a text of any length.
        require(not _LONG_NUMBER.search(left) and "*" not in left)
        _check_types(right if isinstance(right, tuple) else (right,), _PLAIN)
    if sign is ast.Mult and not numbers:
        sequence, count = (right, left) if isinstance(left, int) else (left, right)
        if isinstance(sequence, str | list | tuple) and isinstance(count, int):
            require(len(sequence) * count <= MAX_ITEMS)


def format_value(value: Any, spec: str, *, is_repr: bool = False) -> str:
    """Return a plain value formatted as in an f-string.

    Raises:
        NotHarmlessError: If the value is not plain, or the format asks for a long text.
    """
    _check_types((value,), _PLAIN)
    require(not _LONG_NUMBER.search(spec))
    return format(repr(value) if is_repr else value, spec)


def check_flat(value: Any) -> None:
    """Check that a value is plain, or a list or tuple of plain values.

    Comparing or hashing nested lists takes time that grows without bound with their depth.

    Raises:
        NotHarmlessError: Otherwise.
    """
    _check_types(value if isinstance(value, list | tuple | dict) else (value,), _PLAIN)


def _check_types(values: Any, kinds: Any) -> None:
    require(all(isinstance(value, kinds) for value in values))


def _format(template: str, positional: list[Any], named: dict[str, Any]) -> str:
    """Fill a template; fields that reach into a value are refused."""
    texts: list[str] = []
    values: dict[str, Any] = {str(number): value for number, value in enumerate(positional)} | named
    number = 0
    for text, field, spec, conversion in string.Formatter().parse(template):
        texts.append(text)
        if field is None:
            continue
        name = field or str(number)
        number += not field
        require(name in values and "{" not in (spec or ""))
        texts.append(format_value(values[name], spec or "", is_repr=conversion == "r"))
    return "".join(texts)


def _join_paths(*parts: Any) -> str:
    _check_types(parts, str)
    return posixpath.join(*parts)


def _range(*limits: int) -> list[int]:
    numbers = range(*limits)
    require(len(numbers) <= MAX_ITEMS)
    return list(numbers)


_BUILTINS = (abs, bool, float, int, len, list, max, min, round, sorted, str, sum, tuple)
FUNCTIONS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _BUILTINS} | {
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "dict": ConfigDict,
    "os.path.basename": posixpath.basename,
    "os.path.dirname": posixpath.dirname,
    "os.path.join": _join_paths,
    "range": _range,
}
_OF_CONTAINERS = ("copy.copy", "copy.deepcopy", "dict", "len", "list", "tuple")
_METHODS: dict[type, tuple[str, ...]] = {
    dict: ("clear", "copy", "get", "items", "keys", "pop", "setdefault", "update", "values"),
    list: ("append", "copy", "extend", "insert", "pop", "reverse"),
    str: (
        "capitalize", "endswith", "lower", "lstrip", "removeprefix", "removesuffix", "rsplit", "rstrip",
        "split", "startswith", "strip", "upper",
    ),
}  # fmt: skip


def call_function(name: str, positional: list[Any], named: dict[str, Any]) -> Any:
    """Call a function of ``FUNCTIONS`` and return its result.

    Args:
        name: Dotted name.
        positional: Arguments of the call.
        named: Keyword arguments of the call.

    Raises:
        NotHarmlessError: If the function is not in ``FUNCTIONS``.
    """
    require(name in FUNCTIONS)
    if name not in _OF_CONTAINERS:
        for each in (*positional, *named.values()):
            check_flat(each)
    return ConfigDict(*positional, named) if name == "dict" else FUNCTIONS[name](*positional, **named)


def call_method(owner: Any, name: str, positional: list[Any], named: dict[str, Any]) -> Any:
    """Call a method of a text, list or dictionary and return its result.

    Raises:
        NotHarmlessError: If the method is not one of ``_METHODS``.
    """
    if isinstance(owner, str):
        if name == "format":
            return _format(owner, positional, named)
        if name in ("join", "replace"):
            return _build_text(owner, name, positional)
    require(name in next((names for kind, names in _METHODS.items() if isinstance(owner, kind)), ()))
    if name == "update":  # A dictionary keeps the locations of its items.
        positional, named = [*positional, named], {}
    result = getattr(owner, name)(*positional, **named)
    return list(result) if name in ("items", "keys", "values") else result


def _build_text(owner: str, name: str, positional: list[Any]) -> str:
    if name == "join":
        (parts,) = positional
        _check_types(parts, str)
        require(sum(map(len, parts)) + len(owner) * len(parts) <= MAX_CHARACTERS)
        return owner.join(parts)
    _check_types(positional, str)
    old, new = positional
    require(owner.count(old) * len(new) <= MAX_CHARACTERS)
    return owner.replace(old, new)
