"""call_function, call_method, format_value: calls in a config that only compute a small plain value."""

import ast
import copy
import posixpath
import re
import string
from collections.abc import Callable
from typing import Any

from tsn_tsm_plugin.migrate.mmaction2.config_dict import ConfigDict

MAX_ITEMS = 10_000
MAX_CHARACTERS = 100_000
_MAX_BITS = 256
_LONG_NUMBER = re.compile(r"\d{4}")


class NotHarmlessError(Exception):
    """An expression that would have to be run, or whose value could be large."""


def bounded(value: Any) -> Any:
    """Return a value if it is small.

    Raises:
        NotHarmlessError: If the value has more than ``MAX_ITEMS`` items or ``MAX_CHARACTERS`` characters.
    """
    if isinstance(value, str) and len(value) > MAX_CHARACTERS:
        raise NotHarmlessError
    if isinstance(value, list | tuple | dict) and len(value) > MAX_ITEMS:
        raise NotHarmlessError
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise NotHarmlessError
    return value


def check_operands(sign: type, left: Any, right: Any) -> None:
    """Check that an arithmetic operation is between plain values and its result small.

    Raises:
        NotHarmlessError: Otherwise.
    """
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if sign is ast.Pow and not (numbers and abs(left) <= 1e6 and abs(right) <= 64):
        raise NotHarmlessError
    if sign is ast.Mod and isinstance(left, str):
        # A width or a star may give a text of any length.
        if _LONG_NUMBER.search(left) or "*" in left:
            raise NotHarmlessError
        _check_scalars(right if isinstance(right, tuple) else (right,))
    if sign is ast.Mult and not numbers:
        sequence, count = (right, left) if isinstance(left, int) else (left, right)
        is_repeated = isinstance(sequence, str | list | tuple) and isinstance(count, int)
        if is_repeated and len(sequence) * count > MAX_ITEMS:
            raise NotHarmlessError


def format_value(value: Any, spec: str, *, is_repr: bool = False) -> str:
    """Return a plain value formatted as in an f-string.

    Raises:
        NotHarmlessError: If the value is not plain, or the format asks for a long text.
    """
    _check_scalars((value,))
    if _LONG_NUMBER.search(spec):
        raise NotHarmlessError
    return format(repr(value) if is_repr else value, spec)


def check_flat(value: Any) -> None:
    """Check that a value is plain, or a list or tuple of plain values.

    Comparing or hashing nested lists takes time that grows without bound with their depth.

    Raises:
        NotHarmlessError: Otherwise.
    """
    _check_scalars(value if isinstance(value, list | tuple | dict) else (value,))


def _check_scalars(values: Any) -> None:
    if not all(value is None or isinstance(value, str | int | float) for value in values):
        raise NotHarmlessError


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
        if name not in values or "{" in (spec or ""):
            raise NotHarmlessError
        texts.append(format_value(values[name], spec or "", is_repr=conversion == "r"))
    return "".join(texts)


def _join_paths(*parts: Any) -> str:
    _check_texts(parts)
    return posixpath.join(*parts)


def _check_texts(values: Any) -> None:
    if not all(isinstance(value, str) for value in values):
        raise NotHarmlessError


def _range(*limits: int) -> list[int]:
    numbers = range(*limits)
    if len(numbers) > MAX_ITEMS:
        raise NotHarmlessError
    return list(numbers)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "bool": bool,
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "dict": ConfigDict,
    "float": float,
    "int": int,
    "len": len,
    "list": list,
    "max": max,
    "min": min,
    "os.path.basename": posixpath.basename,
    "os.path.dirname": posixpath.dirname,
    "os.path.join": _join_paths,
    "range": _range,
    "round": round,
    "sorted": sorted,
    "str": str,
    "sum": sum,
    "tuple": tuple,
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


def call_function(name: str, positional: list[Any], named: dict[str, Any], *, unread: type) -> Any:
    """Call a function of ``FUNCTIONS`` and return its result.

    Args:
        name: Dotted name.
        positional: Arguments of the call.
        named: Keyword arguments of the call.
        unread: Class of unknown values; only ``dict`` accepts them.

    Raises:
        NotHarmlessError: If the function is not in ``FUNCTIONS``, or an argument is not known.
    """
    function = FUNCTIONS.get(name)
    if function is None or any(isinstance(each, unread) for each in positional):
        raise NotHarmlessError
    if name not in _OF_CONTAINERS:
        for each in (*positional, *named.values()):
            check_flat(each)
    if name == "dict":
        result = ConfigDict(*positional)
        result.update(named)
        return result
    result = function(*positional, **named)
    return list(result) if isinstance(result, type({}.items())) else result


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
    if name == "update" and isinstance(owner, ConfigDict):
        owner.update(*positional)
        owner.update(named)
        return None
    kind = next((kind for kind in _METHODS if isinstance(owner, kind)), None)
    if kind is None or name not in _METHODS[kind]:
        raise NotHarmlessError
    result = getattr(owner, name)(*positional, **named)
    return list(result) if name in ("items", "keys", "values") else result


def _build_text(owner: str, name: str, positional: list[Any]) -> str:
    if name == "join":
        (parts,) = positional
        _check_texts(parts)
        if sum(map(len, parts)) + len(owner) * len(parts) > MAX_CHARACTERS:
            raise NotHarmlessError
        return owner.join(parts)
    _check_texts(positional)
    old, new = positional
    if owner.count(old) * len(new) > MAX_CHARACTERS:
        raise NotHarmlessError
    return owner.replace(old, new)
