"""wrap_submodules: wrap modules of a network by dotted name."""

from collections.abc import Callable, Iterable

from torch import nn


def wrap_submodules(
    root: nn.Module, wrappers: Iterable[tuple[str, Callable[[nn.Module], nn.Module]]]
) -> None:
    """Wrap submodules in place; all names refer to the network before the first wrapper.

    Args:
        root: A network.
        wrappers: Pairs of a dotted name and a function from the old to the new module. The later of two
            wrappers for one name becomes the outer module.

    Raises:
        ValueError: If a submodule does not exist; nothing is wrapped then.
    """
    wrappers = list(wrappers)
    modules = dict(root.named_modules())
    unknown = sorted({name for name, _ in wrappers if not name or name not in modules})
    if unknown:
        raise ValueError(f"{type(root).__name__} has no submodule named {unknown}; see named_modules().")
    for name, wrap in wrappers:
        parent_name, _, child_name = name.rpartition(".")
        parent = modules[parent_name]
        setattr(parent, child_name, wrap(getattr(parent, child_name)))
