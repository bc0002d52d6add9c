"""Lazy registries of components, fed by entry points.

Every kind of component has one entry-point group; our own components are declared in our setup.cfg through
the groups that other distributions use. Listing names imports nothing. A component is imported when it is
asked for, so a broken distribution harms only the run that names it.

    >>> from tsn_tsm_plugin.registry import BACKBONES
    >>> BACKBONES.get("resnet50").__module__  # an entry point, loaded on demand
    'tsn_tsm_plugin.models.backbones.resnet'
    >>> @BACKBONES.register("mine")  # or without packaging, for this process only
    ... def my_backbone(*, weights=""): ...
    >>> "mine" in BACKBONES.names()
    True
    >>> BACKBONES.unregister("mine")
"""

import difflib
import functools
import importlib.metadata
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tsn_tsm_plugin.errors import PluginError, UnknownComponentError

LIST_COMMAND = "python -m tsn_tsm_plugin.tools.list_components"
RUN_TIME = "(run time)"

_DISTRIBUTION = "tsn_tsm_plugin"
_C = TypeVar("_C", bound=Callable[..., Any])


@dataclass(frozen=True)
class ComponentEntry:
    """Where a component comes from.

    Attributes:
        kind: Kind of component, such as ``backbone``.
        name: Name that recipes and calls use.
        target: ``package.module:attribute``.
        distribution: Installed distribution that declares it, or ``(run time)`` for a decorated one.
        version: Version of that distribution, empty for a decorated one.
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
def _installed_entry_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    """Scan the metadata of all installed distributions, once per process (a scan takes milliseconds)."""
    found = importlib.metadata.entry_points()
    groups = [group for group in found.groups if group.startswith(f"{_DISTRIBUTION}.")]
    return tuple(point for group in groups for point in found.select(group=group))


def rescan() -> None:
    """Forget the scan and what was loaded through it, so that a change of sys.path or an install is seen."""
    _installed_entry_points.cache_clear()
    for registry in REGISTRIES.values():
        registry._forget_loaded()


def load_target(target: str) -> Any:
    """Import ``package.module:attribute`` and return the attribute."""
    return importlib.metadata.EntryPoint(name="", value=target, group="").load()


def _target_of(component: Callable[..., Any]) -> str:
    return f"{component.__module__}:{component.__qualname__}"


class Registry:
    """The components of one kind, by name.

    A name comes from the entry points of ``group`` or from :meth:`register`; a registration made with
    ``override=True`` hides an entry point of the same name. The contract that the components fulfil is the
    instance's ``__doc__``.

    Args:
        kind: What a component of this registry is called in messages and tables.
        group: Entry-point group.
        contract: What the callable takes and returns.
    """

    def __init__(self, kind: str, group: str, *, contract: str = "") -> None:
        self.kind = kind
        self.group = group
        self.__doc__ = contract
        self._registered: dict[str, Callable[..., Any]] = {}
        self._loaded: dict[str, Callable[..., Any]] = {}
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"Registry(kind={self.kind!r}, group={self.group!r})"

    def names(self) -> list[str]:
        """List every name, sorted; imports no component."""
        return sorted({entry.name for entry in self.entries()})

    def entries(self) -> list[ComponentEntry]:
        """List where each name comes from, sorted by name; a name that two distributions claim appears twice.

        Raises:
            PluginError: If this package runs from a bare checkout, where the metadata with its tables is
                missing.
        """
        with self._lock:
            entries = [
                ComponentEntry(self.kind, name, _target_of(component), RUN_TIME, "")
                for name, component in self._registered.items()
            ]
        hidden = {entry.name for entry in entries}
        _require_installed()
        entries += [self._entry(point) for point in self._points() if point.name not in hidden]
        return sorted(entries, key=lambda entry: (entry.name, entry.distribution))

    def get(self, name: str) -> Callable[..., Any]:
        """Return the component of that name, importing it on first use.

        Raises:
            UnknownComponentError: If no distribution and no registration offers the name.
            PluginError: If its distribution fails to import, or two distributions claim the name.
        """
        with self._lock:
            component = self._registered.get(name) or self._loaded.get(name)
        if component is not None:
            return component
        # Outside the lock: the imported module may itself register components from another thread.
        component = self._load(self._claimant(name))
        with self._lock:
            return self._registered.get(name) or self._loaded.setdefault(name, component)

    def register(self, name: str, *, override: bool = False) -> Callable[[_C], _C]:
        """Return a decorator that registers a component in this process.

        Registering the same definition again, as ``importlib.reload`` does, replaces the object quietly: a
        definition is known by its module and qualified name.

        Args:
            name: Name to register.
            override: Take over a name that another definition holds.

        Raises:
            PluginError: When decorating, if another definition holds the name and ``override`` is False.
        """

        def decorate(component: _C) -> _C:
            with self._lock:
                holder = self._holder(name)
                if holder is not None and holder.target != _target_of(component) and not override:
                    raise PluginError(
                        f"{self.kind} {name!r} must have one definition: {_target_of(component)} claims the "
                        f"name of {holder}. Choose another name, or pass override=True to take its place."
                    )
                self._registered[name] = component
            return component

        return decorate

    def unregister(self, name: str) -> None:
        """Take back a registration made in this process; an entry point that it hid is seen again.

        Raises:
            UnknownComponentError: If the name was not registered with :meth:`register`.
        """
        with self._lock:
            if name not in self._registered:
                raise UnknownComponentError(
                    f"{self.kind} {name!r} was not registered in this process; registered here: "
                    f"{sorted(self._registered)}. An entry point leaves with its distribution: pip uninstall."
                )
            del self._registered[name]

    def _forget_loaded(self) -> None:
        with self._lock:
            self._loaded.clear()

    def _points(self) -> list[importlib.metadata.EntryPoint]:
        return [point for point in _installed_entry_points() if point.group == self.group]

    def _entry(self, point: importlib.metadata.EntryPoint) -> ComponentEntry:
        distribution, version = (point.dist.name, point.dist.version) if point.dist else ("unknown", "")
        return ComponentEntry(self.kind, point.name, point.value, distribution, version)

    def _holder(self, name: str) -> ComponentEntry | None:
        if name in self._registered:
            return ComponentEntry(self.kind, name, _target_of(self._registered[name]), RUN_TIME, "")
        return next((self._entry(point) for point in self._points() if point.name == name), None)

    def _claimant(self, name: str) -> importlib.metadata.EntryPoint:
        points = [point for point in self._points() if point.name == name]
        if not points:
            names = self.names()
            nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
            hint = f"nearest: {', '.join(nearest)}" if nearest else f"known: {', '.join(names) or 'none'}"
            raise UnknownComponentError(
                f"{self.kind} {name!r} is not registered; {hint}. "
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
        entry = self._entry(point)
        try:
            component = point.load()
        except Exception as error:
            raise PluginError(
                f"{entry} failed to import: {type(error).__name__}: {error}. {_cure(error, entry)}"
            ) from error
        if not callable(component):
            raise PluginError(f"{entry} must be callable, got {type(component).__name__}.")
        return component


def _cure(error: Exception, entry: ComponentEntry) -> str:
    package = entry.target.split(".")[0].split(":")[0]
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and missing.split(".")[0] != package:
        return f"Install what it needs: pip install {missing.split('.')[0]}"
    if entry.distribution == _DISTRIBUTION:
        return "If the checkout has changed since the install, run `pip install -e .` in it again."
    return f"Mend or uninstall {entry.distribution}, or name another {entry.kind}."


def _require_installed() -> None:
    try:
        importlib.metadata.distribution(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise PluginError(
            f"{_DISTRIBUTION} is not installed: its components are declared in package metadata, which a "
            f"bare checkout lacks. Run `pip install -e .` in the checkout."
        ) from None


BACKBONES = Registry(
    "backbone",
    "tsn_tsm_plugin.backbones",
    contract="""Callable ``(*, weights: str = "", **options) -> nn.Module``.

    The module maps (N, 3, H, W) float images to a feature map (N, num_features, h, w) and has the attribute
    ``num_features: int``. For TSM it offers ``temporal_shift_sites(shift_place: str) -> list[str]``: the
    dotted names of the submodules whose input is shifted in time; without it TSM refuses the backbone.
    ``weights`` is "" for a random start, the name of a torchvision weights enum such as "IMAGENET1K_V1", or a
    file path. ``options`` are those of ``MODEL.BACKBONE_OPTIONS``. A backbone that does not take 224 x 224
    pixels has the attribute ``input_size``, (3, H, W).""",
)
HEADS = Registry(
    "head",
    "tsn_tsm_plugin.heads",
    contract="""Builder with the eight keywords of ``create_resnet(head=)``: ``in_features``,
    ``out_features``, ``pool``, ``output_size``, ``pool_kernel_size``, ``dropout_rate``, ``activation``,
    ``output_with_global_average``; returns a module mapping (B, C, T, H, W) features to (B, K) scores.""",
)
BOTTLENECKS = Registry(
    "bottleneck",
    "tsn_tsm_plugin.bottlenecks",
    contract="""Callable ``(block: nn.Module, *, index: int, stage: int | None, depths: Sequence[int])`` that
    edits one residual block of a PyTorchVideo network, ``ResBlock``, and returns what takes its place.
    ``index`` is its position in its stage, ``stage`` the stage's in the network, or None where the stage was
    named alone, and ``depths`` how many blocks each stage has.""",
)
TEMPORAL_MODULES = Registry(
    "temporal_module",
    "tsn_tsm_plugin.temporal_modules",
    contract="""Callable ``(dim: int, *, num_segments: int, **options) -> nn.Module``.

    The module maps clips (B, dim, T, H, W) with T = num_segments to the same shape; tokens come as H = L and
    W = 1. It is created once for each site, and sees the input of the site, or with the attribute
    ``position = "after"`` its output. ``options`` are those of ``MODEL.TEMPORAL_MODULES``. The built-in
    ``temporal_shift`` and ``non_local`` have options and names of parameters of their own.""",
)
SAMPLERS = Registry(
    "sampler",
    "tsn_tsm_plugin.samplers",
    contract="""Callable ``(num_segments: int, *, mode: str, num_views: int = 1)`` with ``mode`` "train" or
    "test"; returns a callable ``(num_frames: int, generator: torch.Generator | None) -> LongTensor`` of
    0-based frame indices: (num_segments,) in training, (num_views * num_segments,), view after view, in
    testing. What it returns must be picklable where workers are spawned: no closure.""",
)
TRANSFORMS = Registry(
    "transform",
    "tsn_tsm_plugin.transforms",
    contract="""Callable that builds a clip transform: an object mapping a (C, T, H, W) uint8 video to a
    (C, T', H', W') one; a random one takes ``generator=`` as a keyword.""",
)
BATCH_TRANSFORMS = Registry(
    "batch_transform",
    "tsn_tsm_plugin.batch_transforms",
    contract="""Callable that builds a batch transform: an object mapping a pair (video (B, C, T, H, W),
    labels) to such a pair.""",
)
DECODERS = Registry(
    "decoder",
    "tsn_tsm_plugin.decoders",
    contract="""Class ``(path, *, num_threads=1)`` with ``num_frames: int``, ``fps: float``, ``close()`` and
    ``read(indices) -> uint8 (T, C, H, W) RGB``; frame i is the i-th of decoding the file from its start.""",
)
DATASETS = Registry(
    "dataset",
    "tsn_tsm_plugin.datasets",
    contract="""``torch.utils.data.Dataset`` class whose items are clip dictionaries with PyTorchVideo's
    keys.""",
)

REGISTRIES: dict[str, Registry] = {
    registry.kind: registry
    for registry in (
        BACKBONES,
        HEADS,
        BOTTLENECKS,
        TEMPORAL_MODULES,
        SAMPLERS,
        TRANSFORMS,
        BATCH_TRANSFORMS,
        DECODERS,
        DATASETS,
    )
}
"""Every registry by its kind, in the order of the tables."""
