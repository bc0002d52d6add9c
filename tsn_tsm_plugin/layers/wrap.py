"""Replace a named submodule by a wrapper around it."""

from collections.abc import Callable

from torch import nn


def wrap_submodule(root: nn.Module, name: str, wrapper: Callable[[nn.Module], nn.Module]) -> None:
    """Put ``wrapper(module)`` where ``root`` has the submodule of that dotted name, in place.

    Raises:
        AttributeError: If there is no such submodule.
    """
    parent_name, _, child_name = name.rpartition(".")
    parent = root.get_submodule(parent_name)
    setattr(parent, child_name, wrapper(parent.get_submodule(child_name)))
