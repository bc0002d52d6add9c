"""Ledger, Patch: patches of other packages' modules, applied once, listed and reverted exactly.

A patch waits for the import of its host module, so activation is cheap. Installed functions carry a mark.
A second copy of this package in the process (a re-import) recognises the mark and does not wrap twice.
"""

import copy
import functools
import importlib.abc
import importlib.machinery
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

_MARK = "_tsn_tsm_plugin_change"


@dataclass(frozen=True)
class Patch:
    """A function to install in a host module.

    Attributes:
        module: Host module.
        attribute: Name of the function in the module, or ``Class.method``.
        make: Maps the host's function (None for an addition) to the new function.
        extends: True to wrap the host's function, False to add a missing name.
    """

    module: str
    attribute: str
    make: Callable[[Any], Callable[..., Any]]
    extends: bool


class PatchStatus(NamedTuple):
    """A row of the ledger.

    Attributes:
        where: Dotted name of the function, or the module whose import is guarded.
        change: ``adds``, ``extends`` or ``guards``.
        state: ``on``; ``off``; ``waiting`` for the host's import; ``covered`` by another patch;
            ``taken``, a name added earlier by other code; ``missing`` in this version of the host.
    """

    where: str
    change: str
    state: str


@dataclass(frozen=True)
class _Change:
    old: Callable[..., Any] | None
    new: Callable[..., Any]


class Ledger:
    """Applies patches to host modules, now or on their import, and reverts them.

    Args:
        patches: The functions to install; patches may share a host module.
        guards: Context managers around the import of a module.
    """

    def __init__(
        self, patches: Sequence[Patch], guards: Mapping[str, Callable[[], AbstractContextManager[None]]]
    ) -> None:
        self.active = False
        self._patches = tuple(patches)
        self._guards = dict(guards)
        self._changes: dict[Patch, _Change] = {}
        self._lock = threading.RLock()
        self._watcher = _ImportWatcher({patch.module for patch in patches} | set(guards), self._around_import)

    @property
    def modules(self) -> list[str]:
        """Host modules of the patches."""
        return list(dict.fromkeys(patch.module for patch in self._patches))

    def activate(self) -> None:
        """Patch imported host modules now, other modules on import; repeated calls have no effect."""
        with self._lock:
            self.active = True
            self._watcher.install()
            for patch in self._patches:
                if patch.module in sys.modules:
                    self._apply(patch, sys.modules[patch.module])

    def deactivate(self) -> bool:
        """Restore the original functions.

        A function that other code has wrapped since is kept, because the patch below it cannot be removed.

        Returns:
            False if such a function was kept.
        """
        with self._lock:
            self.active = False
            self._watcher.uninstall()
            self._changes = {
                patch: change for patch, change in self._changes.items() if not _undo(patch, change)
            }
            return not self._changes

    def rows(self) -> list[PatchStatus]:
        """List every patch and guard with its state."""
        with self._lock:
            rows = [
                PatchStatus(
                    f"{patch.module}.{patch.attribute}",
                    "extends" if patch.extends else "adds",
                    self._state(patch),
                )
                for patch in self._patches
            ]
            guard_state = "on" if self.active else "off"
            return rows + [PatchStatus(module, "guards", guard_state) for module in self._guards]

    def _apply(self, patch: Patch, module: types.ModuleType) -> None:
        if patch in self._changes:
            return
        owner, name = _owner(module, patch.attribute)
        current = _current(module, patch.attribute)
        ours = _change_behind(current)
        if ours is not None:
            self._changes[patch] = ours
        elif patch.extends == (current is not None):
            change = _Change(current, patch.make(current))
            setattr(change.new, _MARK, change)
            setattr(owner, name, change.new)
            self._changes[patch] = change

    @contextmanager
    def _around_import(self, module: types.ModuleType) -> Iterator[None]:
        with ExitStack() as stack:
            if module.__name__ in self._guards:
                stack.enter_context(self._guards[module.__name__]())
            yield
        with self._lock:
            for patch in self._patches:
                if patch.module == module.__name__:
                    # The module has (re)defined its functions: discard earlier records.
                    self._changes.pop(patch, None)
                    self._apply(patch, module)

    def _state(self, patch: Patch) -> str:
        module = sys.modules.get(patch.module)
        current = _current(module, patch.attribute)
        change = self._changes.get(patch)
        if change is not None:
            return "on" if current is change.new else "covered"
        if not self.active:
            return "off"
        if module is None:
            return "waiting"
        return "missing" if patch.extends else "taken"


def _change_behind(function: Any) -> _Change | None:
    """Return the patch that installed this function; functools.wraps of other code may copy the mark."""
    change = getattr(function, _MARK, None)
    return change if change is not None and change.new is function else None


def _owner(module: types.ModuleType | None, attribute: str) -> tuple[Any, str]:
    """Return the owner of the attribute (module or class) and the attribute's name."""
    class_name, _, name = attribute.rpartition(".")
    return (getattr(module, class_name, None) if class_name else module), name


def _current(module: types.ModuleType | None, attribute: str) -> Any:
    owner, name = _owner(module, attribute)
    return None if owner is None else getattr(owner, name, None)


def _undo(patch: Patch, change: _Change) -> bool:
    module = sys.modules.get(patch.module)
    owner, name = _owner(module, patch.attribute)
    current = _current(module, patch.attribute)
    if module is None or current is None:
        return True
    if current is not change.new:
        return False
    if change.old is None:
        delattr(owner, name)
    else:
        setattr(owner, name, change.old)
    return True


class _ImportWatcher(importlib.abc.MetaPathFinder):
    """Runs a context manager around the first (or repeated) execution of some modules."""

    owner = "tsn_tsm_plugin"

    def __init__(
        self, modules: set[str], around: Callable[[types.ModuleType], AbstractContextManager[None]]
    ) -> None:
        self._modules = modules
        self._around = around

    def install(self) -> None:
        self.uninstall()
        sys.meta_path.insert(0, self)

    def uninstall(self) -> None:
        """Remove this watcher, and the watcher of an earlier copy of this module, from sys.meta_path."""
        sys.meta_path[:] = [
            finder for finder in sys.meta_path if getattr(finder, "owner", None) != self.owner
        ]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._modules:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    # Copy: some loaders are shared by several modules.
                    loader: Any = copy.copy(spec.loader)
                    loader.exec_module = functools.partial(self._execute, loader.exec_module)
                    spec.loader = loader
                return spec
        return None

    def _execute(self, execute: Callable[[types.ModuleType], None], module: types.ModuleType) -> None:
        with self._around(module):
            execute(module)
