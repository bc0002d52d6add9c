"""Registry, ComponentEntry: the components of one kind by name, loaded lazily."""

import difflib
import functools
import importlib.metadata
import inspect
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from tsn_tsm_plugin.errors import ConfigError, PluginError, TsnTsmError, UnknownComponentError

LIST_COMMAND = "tsn-tsm-list-components"
RUN_TIME = "(run time)"

_DISTRIBUTION = "tsn_tsm_plugin"
_C = TypeVar("_C", bound=Callable[..., Any])


@dataclass(frozen=True)
class ComponentEntry:
    """Name and origin of a component.

    Attributes:
        kind: Kind of component, such as ``backbone``.
        name: Name that recipes and calls use.
        target: ``package.module:attribute``.
        distribution: Installed distribution that declares the component; ``(run time)`` if registered by a
            decorator.
        version: Version of the distribution; empty if registered by a decorator.
    """

    kind: str
    name: str
    target: str
    distribution: str
    version: str

    def __str__(self) -> str:
        origin = f"{self.distribution} {self.version}".rstrip()
        return f"{self.kind} {self.name!r} from {origin} ({self.target})"


@functools.cache
def installed_entry_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    """Scan the metadata of all installed distributions, once per process (a scan takes milliseconds)."""
    found = importlib.metadata.entry_points()
    groups = [group for group in found.groups if group.startswith(f"{_DISTRIBUTION}.")]
    return tuple(point for group in groups for point in found.select(group=group))


def load_target(target: str) -> Any:
    """Import ``package.module:attribute`` and return the attribute."""
    return importlib.metadata.EntryPoint(name="", value=target, group="").load()


def bind_arguments(component: _C, label: str, *args: Any, **options: Any) -> Callable[..., Any]:
    """Bind arguments to a component; refuse options that the component does not take.

    Args:
        component: Component of a registry.
        label: Kind and name of the component, for the message.
        *args: Positional arguments by the contract of the kind.
        **options: Options from a recipe or a call.

    Raises:
        ConfigError: If the component takes no such argument, or needs a further one.
    """
    try:
        signature = inspect.signature(component)
    except ValueError:  # Functions written in C may have no signature.
        return functools.partial(component, *args, **options)
    try:
        signature.bind(*args, **options)
    except TypeError as error:
        raise ConfigError(f"{label} takes {signature}, got options that do not fit: {error}.") from error
    return functools.partial(component, *args, **options)


def nearest_or_known(name: object, names: Collection[str]) -> str:
    """Return the end of a message about an unknown name: the nearest names, or all names."""
    nearest = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    return f"nearest: {', '.join(nearest)}" if nearest else f"known: {', '.join(names) or 'none'}"


def _target_of(component: Callable[..., Any]) -> str:
    return f"{component.__module__}:{component.__qualname__}"


class Registry:
    """The components of one kind, by name.

    A name comes from the entry points of ``group`` or from :meth:`register`. A registration with
    ``override=True`` hides an entry point of the same name. The instance's ``__doc__`` is the contract of the
    components.

    Args:
        kind: Name of the kind in messages and tables.
        group: Entry-point group.
        contract: Arguments and result of the callable.
    """

    def __init__(self, kind: str, group: str, *, contract: str = "") -> None:
        self.kind = kind
        self.group = group
        self.__doc__ = contract
        self._registered: dict[str, Callable[..., Any]] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Registry(kind={self.kind!r}, group={self.group!r})"

    def names(self) -> list[str]:
        """List every name, sorted; imports no component."""
        return sorted({entry.name for entry in self.entries()})

    def entries(self) -> list[ComponentEntry]:
        """List the origin of each name, sorted by name; a name that two distributions claim appears twice.

        Raises:
            PluginError: If this package runs from a bare checkout, without metadata of entry points.
        """
        _require_installed()
        return sorted(self._entries(), key=lambda entry: (entry.name, entry.distribution))

    def get(self, name: str) -> Callable[..., Any]:
        """Return the component of that name, importing it on first use.

        Raises:
            UnknownComponentError: If no distribution and no registration offers the name.
            PluginError: If its distribution fails to import, or two distributions claim the name.
        """
        return self._registered.get(name) or self._load(self._claimant(name))

    def create(
        self,
        name: str,
        *args: Any,
        options: Mapping[str, Any] | None = None,
        key: str = "options",
        **arguments: Any,
    ) -> Any:
        """Call the component of that name.

        Args:
            name: Name of the component.
            *args: Positional arguments by the contract of the kind.
            options: Options from a recipe or a call.
            key: Name of the options in messages.
            **arguments: Keyword arguments by the contract of the kind.

        Raises:
            UnknownComponentError: See :meth:`get`.
            PluginError: See :meth:`get`.
            ConfigError: If the component does not take the options, or refuses a value with a ValueError.
        """
        options = options or {}
        label = f"{self.kind} {name!r}"
        taken = sorted(options.keys() & arguments.keys())
        if taken:
            raise ConfigError(f"{key} must leave {', '.join(taken)} to the run, which sets it for {label}.")
        component = bind_arguments(self.get(name), f"{key} of {label}", *args, **arguments, **options)
        try:
            return component()
        except TsnTsmError:
            raise
        except ValueError as error:
            raise ConfigError(f"{key} of {label}: {error}") from error

    def register(self, name: str, *, override: bool = False) -> Callable[[_C], _C]:
        """Return a decorator that registers a component in this process.

        Registering the same definition again, as ``importlib.reload`` does, silently replaces the object. A
        definition is identified by its module and qualified name.

        Args:
            name: Name to register.
            override: Whether to replace another definition of the name.

        Raises:
            PluginError: When decorating, if another definition holds the name and ``override`` is False.
        """

        def decorate(component: _C) -> _C:
            with self._lock:
                holder = next(iter(self._entries(name)), None)
                if holder is not None and holder.target != _target_of(component) and not override:
                    raise PluginError(
                        f"{self.kind} {name!r} must have one definition: {_target_of(component)} claims the "
                        f"name of {holder}. Choose another name, or pass override=True to take its place."
                    )
                self._registered[name] = component
            return component

        return decorate

    def unregister(self, name: str) -> None:
        """Remove a registration of this process; an entry point that it hid becomes visible again.

        Raises:
            UnknownComponentError: If the name was not registered with :meth:`register`.
        """
        if self._registered.pop(name, None) is None:
            raise UnknownComponentError(
                f"{self.kind} {name!r} was not registered in this process; registered here: "
                f"{sorted(self._registered)}. An entry point leaves with its distribution: pip uninstall."
            )

    def _points(self) -> list[importlib.metadata.EntryPoint]:
        return [point for point in installed_entry_points() if point.group == self.group]

    def _entry(self, point: importlib.metadata.EntryPoint) -> ComponentEntry:
        distribution, version = (point.dist.name, point.dist.version) if point.dist else ("unknown", "")
        return ComponentEntry(self.kind, point.name, point.value, distribution, version)

    def _entries(self, only: str | None = None) -> list[ComponentEntry]:
        """List the origin of each name, or of one name: each parses the metadata of a distribution."""
        registered = self._registered.copy()
        points = [point for point in self._points() if point.name not in registered]
        return [
            *(
                ComponentEntry(self.kind, name, _target_of(component), RUN_TIME, "")
                for name, component in registered.items()
                if only in (None, name)
            ),
            *(self._entry(point) for point in points if only in (None, point.name)),
        ]

    def _claimant(self, name: str) -> importlib.metadata.EntryPoint:
        points = [point for point in self._points() if point.name == name]
        if not points:
            raise UnknownComponentError(
                f"{self.kind} {name!r} is not registered; {nearest_or_known(name, self.names())}. "
                f"See them all with `{LIST_COMMAND} --kind {self.kind}`."
            )
        if len(points) > 1:
            claims = " and ".join(str(self._entry(point)) for point in points)
            raise PluginError(
                f"{self.kind} {name!r} must come from one distribution, but two or more claim it: {claims}. "
                f"Uninstall all but one."
            )
        return points[0]

    def _load(self, point: importlib.metadata.EntryPoint) -> Callable[..., Any]:
        # Each video looks its decoder up: parse the metadata of the distribution for errors only.
        try:
            component = point.load()
        except Exception as error:
            entry = self._entry(point)
            raise PluginError(
                f"{entry} failed to import: {type(error).__name__}: {error}. {_cure(error, entry)}"
            ) from error
        if not callable(component):
            raise PluginError(f"{self._entry(point)} must be callable, got {type(component).__name__}.")
        return component


def _cure(error: Exception, entry: ComponentEntry) -> str:
    package = entry.target.split(".")[0].split(":")[0]
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and missing.split(".")[0] != package:
        return f"Install what it needs: pip install {missing.split('.')[0]}"
    if entry.distribution == _DISTRIBUTION:
        return "If the checkout has changed since the install, run `pip install -e .` in it again."
    return f"Repair or uninstall {entry.distribution}, or name another {entry.kind}."


def _require_installed() -> None:
    try:
        importlib.metadata.distribution(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise PluginError(
            f"{_DISTRIBUTION} is not installed: its components are declared in package metadata, which a "
            f"bare checkout lacks. Run `pip install -e .` in the checkout."
        ) from None
