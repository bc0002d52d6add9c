"""Put another module where a network has one of a given name."""

from torch import nn


def replace_submodule(root: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` where ``root`` has the submodule of that dotted name, in place.

    Raises:
        AttributeError: If there is no such submodule.
    """
    parent_name, _, child_name = name.rpartition(".")
    parent = root.get_submodule(parent_name)
    parent.get_submodule(child_name)
    setattr(parent, child_name, module)
