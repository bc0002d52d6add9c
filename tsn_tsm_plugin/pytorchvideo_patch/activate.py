"""activate, deactivate, status, list_components: names of this plugin in PyTorchVideo's builders.

``activate()`` adds names to PyTorchVideo, and never changes existing behaviour:

==================================================  ======================================================
``pytorchvideo.models.hub.tsm_r50``, ``.tsn``, ...  TSN and TSM on every backbone of the zoo, or on any
``create_resnet(head=NAME, bottleneck=NAME)``       registered heads and bottlenecks, in every builder with
                                                    such a slot (`builder_slots.BUILDERS`)
``make_clip_sampler(NAME, 8, mode="train")``        ``"uniform_segments"``, ``"twice_sample"``, ``"dense"``,
                                                    ``"whole_video"`` and every registered sampler
``LabeledVideoDataset(clip_sampler=...)``           reads the frames of these samplers, and no others
``create_video_transform(aug_type=NAME)``           every registered transform
``decoder=NAME`` of datasets, ``EncodedVideo``      ``"exact"`` and every registered decoder, as "torchcodec"
``import pytorchvideo.transforms``                  works, although torchvision has removed a module
the same import, and ``pytorchvideo.models``        without warnings that torch.jit is deprecated
==================================================  ======================================================

PyTorchVideo's names keep their meaning; this plugin looks up only names that PyTorchVideo refuses.
``import tsn_tsm_plugin`` activates, unless ``TSN_TSM_PLUGIN_AUTOACTIVATE=0``. Each module of PyTorchVideo is
patched on its import. ``status()`` lists every change; ``deactivate()`` restores the original functions.

Limits of patching names in a process:

- **Early binding.** ``from pytorchvideo.data import make_clip_sampler`` *before* the activation keeps
  PyTorchVideo's own function, which does not know our names.
- **torch.hub.load of a PyTorchVideo checkout** runs that checkout's ``hubconf.py``. Its fixed list of models
  does not include ``"tsm_r50"``. Load from a checkout of this package instead.
- **Modules already imported** keep their functions: ``pytorchvideo.transforms`` stays usable after
  ``deactivate()``.

Objects have none of these limits: `tsn_tsm_plugin.data.pytorchvideo_bridge` has a clip sampler and a video
path handler for PyTorchVideo's own slots.
"""

import functools
import importlib
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from tsn_tsm_plugin.pytorchvideo_patch.builder_slots import BUILDERS, extend_builder
from tsn_tsm_plugin.pytorchvideo_patch.dataset_names import (
    extend_dataset,
    extend_make_clip_sampler,
    extend_select_video_class,
)
from tsn_tsm_plugin.pytorchvideo_patch.hub_models import HUB_MODELS, create_hub_model
from tsn_tsm_plugin.pytorchvideo_patch.ledger import Ledger, Patch, PatchStatus
from tsn_tsm_plugin.pytorchvideo_patch.routes import Route, routes_to
from tsn_tsm_plugin.pytorchvideo_patch.video_transforms import (
    extend_create_video_transform,
    extend_get_augmentation,
)
from tsn_tsm_plugin.registry import REGISTRIES, ComponentEntry

_FUNCTIONAL_TENSOR = "torchvision.transforms.functional_tensor"


def is_active() -> bool:
    """Return whether PyTorchVideo accepts the names of this plugin."""
    return _LEDGER.active


@contextmanager
def _functional_tensor_shim() -> Iterator[None]:
    """Provide the module that torchvision has removed, with the function that PyTorchVideo uses."""
    if _FUNCTIONAL_TENSOR in sys.modules:
        yield
        return
    shim = types.ModuleType(_FUNCTIONAL_TENSOR)
    private = importlib.import_module("torchvision.transforms._functional_tensor")
    shim.affine = private.affine  # type: ignore[attr-defined]
    sys.modules[_FUNCTIONAL_TENSOR] = shim
    try:
        yield
    finally:
        del sys.modules[_FUNCTIONAL_TENSOR]


@contextmanager
def _without_scripting_warnings() -> Iterator[None]:
    """Suppress the torch.jit deprecation warning of PyTorchVideo and fvcore."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated", category=FutureWarning)
        yield


def _patches() -> list[Patch]:
    hub = [
        Patch("pytorchvideo.models.hub", name, functools.partial(create_hub_model, name), False)
        for name in HUB_MODELS
    ]
    builders = [
        Patch(module, name, functools.partial(extend_builder, name, is_active), True)
        for name, builder in BUILDERS.items()
        for module in builder.modules
    ]
    functions: list[tuple[str, str, Callable[..., Any]]] = [
        ("data.clip_sampling", "make_clip_sampler", extend_make_clip_sampler),
        ("data", "make_clip_sampler", extend_make_clip_sampler),
        ("data.encoded_video", "select_video_class", extend_select_video_class),
        ("data.labeled_video_dataset", "LabeledVideoDataset.__init__", extend_dataset),
        ("transforms.transforms_factory", "create_video_transform", extend_create_video_transform),
        ("transforms.transforms_factory", "_get_augmentation", extend_get_augmentation),
        ("transforms", "create_video_transform", extend_create_video_transform),
    ]
    data = [
        Patch(f"pytorchvideo.{module}", name, functools.partial(extend, is_active), True)
        for module, name, extend in functions
    ]
    return [*hub, *builders, *data]


# Keep the ledger across importlib.reload, which runs this line again.
_LEDGER: Ledger = globals().get("_LEDGER") or Ledger(
    _patches(),
    guards={
        "pytorchvideo.models": _without_scripting_warnings,
        "pytorchvideo.transforms": _without_scripting_warnings,
        "pytorchvideo.transforms.augmentations": _functional_tensor_shim,
    },
)


@dataclass(frozen=True, repr=False)
class ActivationStatus:
    """Changes of the plugin in PyTorchVideo, and the components reachable through it.

    Attributes:
        active: Whether PyTorchVideo accepts the names of this plugin.
        rows: One row per change.
        routes: Each registered component with the calls that take its name.
    """

    active: bool
    rows: tuple[PatchStatus, ...]
    routes: tuple[tuple[ComponentEntry, tuple[Route, ...]], ...]

    def __repr__(self) -> str:
        head = f"tsn_tsm_plugin is {'active' if self.active else 'not active'} in PyTorchVideo"
        changes = tabulate(self.rows, headers=PatchStatus._fields, tablefmt="plain")
        reached = tabulate(
            [
                (entry.kind, entry.name, "\n".join(map(str, routes)) or "recipes only")
                for entry, routes in self.routes
            ],
            headers=("kind", "name", "reached by"),
            tablefmt="plain",
        )
        return f"{head}\n{changes}\n\n{reached}"


def activate(*, eager: bool = True) -> None:
    """Add this plugin's names to PyTorchVideo; calling it again changes nothing.

    Example:
        >>> activate()
        >>> import pytorchvideo.models.hub as hub
        >>> hub.tsm_r50(model_num_class=174, num_segments=8).describe()
        'TSM: backbone=resnet50, num_segments=8, num_classes=174, temporal shift at 16 sites (...)'

    Args:
        eager: Whether to import and patch the modules of PyTorchVideo now; otherwise each module is patched
            on its import.

    Raises:
        ImportError: If ``eager`` and PyTorchVideo cannot be imported.
    """
    _LEDGER.activate()
    if eager:
        for module in _LEDGER.modules:
            importlib.import_module(module)


def deactivate() -> bool:
    """Remove this plugin's names from PyTorchVideo and restore its functions.

    Returns:
        False if other code has wrapped a patched function since. The wrapper is kept, and the patch below it
        passes all calls through.
    """
    return _LEDGER.deactivate()


def status() -> ActivationStatus:
    """Return the patches, and the calls that accept the name of each component, as printable status."""
    routes = tuple((entry, tuple(routes_to(entry))) for entry in list_components())
    return ActivationStatus(_LEDGER.active, tuple(_LEDGER.rows()), routes)


def list_components(kind: str = "") -> list[ComponentEntry]:
    """List the components of every distribution, or of one kind, without importing any.

    Example:
        >>> {head.name: head.target for head in list_components("head")}["tsn"]
        'tsn_tsm_plugin.models.heads:create_tsn_head'

    Args:
        kind: A key of ``registry.REGISTRIES`` such as ``backbone``; empty for all kinds.

    Raises:
        ValueError: If there is no such kind.
        PluginError: If this package is not installed, so that its metadata is missing.
    """
    if kind and kind not in REGISTRIES:
        raise ValueError(f"kind must be one of {', '.join(REGISTRIES)}, got {kind!r}.")
    return [entry for name in ([kind] if kind else REGISTRIES) for entry in REGISTRIES[name].entries()]
