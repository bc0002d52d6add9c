"""Stub: placeholder for an object of a file that is not data."""

from collections.abc import Sequence
from typing import Any

import torch

# Values of a checkpoint nest this deep at most; real files stay below 30.
MAX_DEPTH = 400

_SCALARS = (str, int, float, complex, bytes, type(None), torch.dtype)
_CONTAINERS = (dict, list, tuple, set, frozenset)


class Stub:
    """Placeholder for a global of a file, or for the result of calling the global; it does nothing.

    Args:
        name: Full name of the global, as the file spells it.
        arguments: Arguments of the call; ``None`` for the global itself.
        reason: Why data of a known kind could not be built.

    Attributes:
        state: State that the instance would have been given afterwards.
        items: Items that would have been put into the instance.
    """

    __slots__ = ("_name", "arguments", "items", "reason", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...] | None = None, *, reason: str = "") -> None:
        self._name = name
        self.arguments = arguments
        self.reason = reason
        self.state: Any = None
        self.items: list[Any] = []

    def __repr__(self) -> str:
        return f"<stub of {self.name}>"

    @property
    def name(self) -> str:
        """The name without control characters, 80 characters at most: a file may hold any."""
        return ascii(self._name)[1:-1][:80]


def as_key(value: Any) -> Any:
    """Return a key that is quick to hash: the value itself, or a stub around a nested value."""
    if isinstance(value, (*_SCALARS, Stub)):
        return value
    if isinstance(value, tuple) and all(isinstance(item, (*_SCALARS, Stub)) for item in value):
        return value
    return Stub("key", (value,))


def is_too_deep(root: Any) -> bool:
    """Return whether values are nested so deeply that recursive readers would overflow the stack."""
    waiting, seen = [(root, 0)], {id(root)}
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            return True
        for child in _children(value):
            if isinstance(child, (*_CONTAINERS, Stub)) and id(child) not in seen:
                seen.add(id(child))
                waiting.append((child, depth + 1))
    return False


def _children(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, Stub):
        return [value.arguments, value.state, value.items]
    return list(value) if isinstance(value, _CONTAINERS) else ()
