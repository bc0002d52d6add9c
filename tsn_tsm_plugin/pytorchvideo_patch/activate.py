"""Activation: PyTorchVideo's own builders learn the names of this plugin.

``activate()`` adds to PyTorchVideo, and never changes what it already does:

=================================================  =======================================================
``pytorchvideo.models.hub.tsn_r50``, ``.tsm_r50``  models by depth 18, 34, 50, 101, 152
``make_clip_sampler("whole_video")``               one clip per video, for reading by frame index
``create_video_transform(aug_type=NAME)``          every registered transform
``decoder=NAME`` of datasets, ``EncodedVideo``     ``"exact"`` and every registered decoder, as "torchcodec"
``import pytorchvideo.transforms``                 works on torchvision >= 0.17
the same import, and ``pytorchvideo.models``       without warnings that torch.jit is deprecated
=================================================  =======================================================

PyTorchVideo is asked first; only what it refuses is looked up here. ``import tsn_tsm_plugin`` activates, if
not ``TSN_TSM_PLUGIN_AUTOACTIVATE=0``, and each module of PyTorchVideo is patched when it is imported.
``status()`` shows every change; ``deactivate()`` puts back exactly what was there.

Limits, all due to names being patched in one process:

- **Early binding.** ``from pytorchvideo.data import make_clip_sampler`` *before* the activation keeps
  PyTorchVideo's own function, which does not know our names.
- **Spawned workers** (and forkserver) start without the activation unless what they unpickle imports this
  package. PyTorchVideo's datasets skip videos that fail, so there a decoder's name gives an empty dataset.
- **Modules already imported** keep what they took: ``pytorchvideo.transforms`` stays usable after
  ``deactivate()``.

Objects have none of these limits: `tsn_tsm_plugin.data.pytorchvideo_bridge` has a clip sampler and a video
path handler for PyTorchVideo's own slots.
"""

import functools
import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from tsn_tsm_plugin.pytorchvideo_patch.ledger import Ledger, Patch, PatchStatus
from tsn_tsm_plugin.registry import DECODERS, REGISTRIES, TRANSFORMS, ComponentEntry, load_target

HUB_MODELS = {
    f"{method}_r{depth}": (f"tsn_tsm_plugin.models:create_{method}", f"resnet{depth}")
    for method in ("tsn", "tsm")
    for depth in (18, 34, 50, 101, 152)
}
"""Name in ``pytorchvideo.models.hub`` to our builder and its backbone."""

CLIP_SAMPLERS = {"whole_video": "tsn_tsm_plugin.data.pytorchvideo_bridge:WholeVideoSampler"}
"""Name for ``make_clip_sampler`` to our class."""

EXACT_DECODER = "exact"

_VIDEO_CLASS = "tsn_tsm_plugin.data.pytorchvideo_bridge:ExactVideo"
_FUNCTIONAL_TENSOR = "torchvision.transforms.functional_tensor"


def _hub_model(name: str, _host: None = None) -> Callable[..., Any]:
    target, backbone = HUB_MODELS[name]

    def build(pretrained: bool = False, progress: bool = True, **kwargs: Any) -> Any:
        if pretrained:
            raise ValueError(
                f"{name}(pretrained=True) has no hosted file to download: build it with pretrained=False and "
                f"read a checkpoint with tsn_tsm_plugin.load_weights(model, path)."
            )
        return load_target(target)(backbone=backbone, **kwargs)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = (
        f"Build {name[:3].upper()} on {backbone} in the style of PyTorchVideo's hub.\n\n"
        f"Args:\n"
        f"    pretrained: Must be False; use tsn_tsm_plugin.load_weights for a checkpoint.\n"
        f"    progress: Not used; nothing is downloaded.\n"
        f"    kwargs: Keywords of {target.replace(':', '.')}, such as num_classes and num_segments.\n"
    )
    return build


def _extended_make_clip_sampler(host: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(host)
    def make_clip_sampler(sampling_type: str, *args: Any) -> Any:
        try:
            return host(sampling_type, *args)
        except NotImplementedError:
            if not _LEDGER.active or sampling_type not in CLIP_SAMPLERS:
                raise
        return load_target(CLIP_SAMPLERS[sampling_type])(*args)

    return make_clip_sampler


def _extended_select_video_class(host: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(host)
    def select_video_class(decoder: str) -> Any:
        try:
            return host(decoder)
        except (ValueError, NotImplementedError):
            if not _LEDGER.active or (decoder != EXACT_DECODER and decoder not in DECODERS.names()):
                raise
        return functools.partial(
            load_target(_VIDEO_CLASS), decoder="auto" if decoder == EXACT_DECODER else decoder
        )

    return select_video_class


def _extended_get_augmentation(host: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(host)
    def _get_augmentation(aug_type: str, aug_paras: dict[str, Any] | None = None) -> list[Any]:
        try:
            return host(aug_type, aug_paras)
        except NotImplementedError:
            if not _LEDGER.active or aug_type not in TRANSFORMS.names():
                raise
        return [TRANSFORMS.get(aug_type)(**(aug_paras or {}))]

    return _get_augmentation


@contextmanager
def _functional_tensor_shim() -> Iterator[None]:
    """Offer the module that torchvision 0.17 removed, with the one function that PyTorchVideo uses."""
    if _FUNCTIONAL_TENSOR in sys.modules or importlib.util.find_spec(_FUNCTIONAL_TENSOR) is not None:
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
    """Drop the one warning of PyTorchVideo and fvcore, which still script modules; no user can act on it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated", category=FutureWarning)
        yield


def _patches() -> list[Patch]:
    sampler = _extended_make_clip_sampler
    hub = [
        Patch("pytorchvideo.models.hub", name, functools.partial(_hub_model, name), False)
        for name in HUB_MODELS
    ]
    return hub + [
        Patch("pytorchvideo.data.clip_sampling", "make_clip_sampler", sampler, True),
        Patch("pytorchvideo.data", "make_clip_sampler", sampler, True),
        Patch("pytorchvideo.data.encoded_video", "select_video_class", _extended_select_video_class, True),
        Patch(
            "pytorchvideo.transforms.transforms_factory",
            "_get_augmentation",
            _extended_get_augmentation,
            True,
        ),
    ]


# importlib.reload runs this line again; the ledger of what is patched must outlive it.
_LEDGER: Ledger = globals().get("_LEDGER") or Ledger(
    _patches(),
    guards={
        "pytorchvideo.models": _without_scripting_warnings,
        "pytorchvideo.transforms": _without_scripting_warnings,
        "pytorchvideo.transforms.augmentations": _functional_tensor_shim,
    },
)


@dataclass(frozen=True)
class ActivationStatus:
    """What the plugin has changed in PyTorchVideo.

    Attributes:
        active: Whether the names of this plugin are served.
        rows: One per change.
    """

    active: bool
    rows: tuple[PatchStatus, ...]

    def __str__(self) -> str:
        head = f"tsn_tsm_plugin is {'active' if self.active else 'not active'} in PyTorchVideo"
        return f"{head}\n{tabulate(self.rows, headers=PatchStatus._fields, tablefmt='plain')}"


def activate(*, eager: bool = True) -> None:
    """Add this plugin's names to PyTorchVideo; calling it again changes nothing.

    Example:
        >>> activate()
        >>> import pytorchvideo.models.hub as hub
        >>> hub.tsm_r50(num_classes=174, num_segments=8).describe()
        'TSM: backbone=resnet50, num_segments=8, num_classes=174, temporal shift at 16 sites (...)'

    Args:
        eager: Import the modules of PyTorchVideo that are to be patched now; otherwise each is patched when
            somebody imports it.

    Raises:
        ImportError: If ``eager`` and PyTorchVideo cannot be imported.
    """
    _LEDGER.activate()
    if eager:
        for module in _LEDGER.modules:
            importlib.import_module(module)


def deactivate() -> bool:
    """Take this plugin's names out of PyTorchVideo, leaving it as it was.

    Returns:
        False if somebody else has wrapped one of the patched functions since. Theirs is left in place, and
        ours below it passes everything through.
    """
    return _LEDGER.deactivate()


@contextmanager
def patched() -> Iterator[None]:
    """Activate for the length of a ``with`` block; what was active before stays active after."""
    was_active = _LEDGER.active
    activate()
    try:
        yield
    finally:
        if not was_active:
            deactivate()


def status() -> ActivationStatus:
    """Print what is patched, and return it."""
    current = ActivationStatus(_LEDGER.active, tuple(_LEDGER.rows()))
    print(current)
    return current


def list_components(kind: str = "") -> list[ComponentEntry]:
    """List the components of every distribution, or those of one kind, without importing any.

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
