"""BACKBONES, HEADS, SAMPLERS, ...: lazy registries of components from entry points.

Each kind of component has one entry-point group. This package declares its components in setup.cfg, through
the groups that other distributions use. Listing names imports nothing. A component is imported on first use,
so a broken distribution affects only runs that name it.

    >>> from tsn_tsm_plugin.registry import BACKBONES
    >>> BACKBONES.get("resnet50").__module__  # an entry point, loaded lazily
    'tsn_tsm_plugin.models.backbones.resnet'
    >>> @BACKBONES.register("mine")  # or without packaging, for this process only
    ... def my_backbone(*, weights=""): ...
    >>> "mine" in BACKBONES.names()
    True
    >>> BACKBONES.unregister("mine")
"""

from tsn_tsm_plugin.registry.lookup import (
    ComponentEntry,
    Registry,
    bind_arguments,
    installed_entry_points,
    load_target,
    nearest_or_known,
)

__all__ = [
    "BACKBONES",
    "BATCH_TRANSFORMS",
    "BOTTLENECKS",
    "DATASETS",
    "DECODERS",
    "HEADS",
    "LOGGERS",
    "LOSSES",
    "LR_POLICIES",
    "OPTIMIZERS",
    "REGISTRIES",
    "SAMPLERS",
    "TEMPORAL_MODULES",
    "TRANSFORMS",
    "ComponentEntry",
    "Registry",
    "bind_arguments",
    "load_target",
    "nearest_or_known",
    "rescan",
]

REGISTRIES: dict[str, Registry] = {}
"""Every registry by its kind, in the order of the tables."""


def _declare(kind: str, *, plural: str = "", contract: str) -> Registry:
    group = f"tsn_tsm_plugin.{plural or f'{kind}s'}"
    return REGISTRIES.setdefault(kind, Registry(kind, group, contract=contract))


BACKBONES = _declare(
    "backbone",
    contract="""Callable ``(*, weights: str = "", **options) -> nn.Module``.

    The module maps (N, 3, H, W) float images to a feature map (N, num_features, h, w) and has the attribute
    ``num_features: int``. For TSM it offers ``temporal_shift_sites(shift_place: str) -> list[str]``: the
    dotted names of the submodules whose input is shifted in time; TSM refuses a backbone without it.
    ``weights`` is "" for a random start, the name of a torchvision weights enum such as "IMAGENET1K_V1", or a
    file path. ``options`` come from ``MODEL.BACKBONE_OPTIONS``. A backbone that does not take 224 x 224
    pixels has the attribute ``input_size``, (3, H, W).""",
)
HEADS = _declare(
    "head",
    contract="""Builder with the eight keywords of ``create_resnet(head=)``: ``in_features``,
    ``out_features``, ``pool``, ``output_size``, ``pool_kernel_size``, ``dropout_rate``, ``activation``,
    ``output_with_global_average``, and options; returns a module mapping (B, C, T, H, W) features to (B, K)
    scores.""",
)
BOTTLENECKS = _declare(
    "bottleneck",
    contract="""Callable ``(block: nn.Module, *, index: int, stage: int | None, depths: Sequence[int])`` that
    edits one residual block of a PyTorchVideo network, ``ResBlock``, and returns its replacement.
    ``index`` is its position in its stage, ``stage`` the stage's in the network, or None if only the stage
    was named, and ``depths`` how many blocks each stage has.""",
)
TEMPORAL_MODULES = _declare(
    "temporal_module",
    contract="""Callable ``(dim: int, *, num_segments: int, **options) -> nn.Module``.

    The module maps clips (B, dim, T, H, W) with T = num_segments to the same shape; tokens come as H = L and
    W = 1. It is created once for each site, and sees the input of the site, or with the attribute
    ``position = "after"`` its output. ``options`` come from ``MODEL.TEMPORAL_MODULES``. The built-in
    ``temporal_shift`` and ``non_local`` have additional options and special parameter names.""",
)
SAMPLERS = _declare(
    "sampler",
    contract="""Callable ``(num_segments: int, *, mode: str, num_views: int = 1, **options)``.

    ``mode`` is "train" or "test". It returns a callable ``(num_frames: int, generator: torch.Generator |
    None) -> LongTensor`` of 0-based frame indices: (num_segments,) in training, (num_views * num_segments,),
    view after view, in testing. The returned callable must be picklable for spawned workers: no closure.""",
)
TRANSFORMS = _declare(
    "transform",
    contract="""Callable ``(**options)`` that builds a step: an object mapping a (C, T, H, W) uint8 video to a
    (C, T', H', W') one.

    A random step takes ``generator=`` as a keyword. One that changes labels takes ``label`` too, and returns
    the pair.""",
)
BATCH_TRANSFORMS = _declare(
    "batch_transform",
    contract="""Callable ``(*, num_classes: int, **options)`` that builds a batch transform.

    A batch transform maps a pair of a normalised video (B, C, T, H, W) and labels (B,) to such a video and
    class probabilities, float (B, num_classes), whose rows sum to 1.""",
)
DECODERS = _declare(
    "decoder",
    contract="""Class ``(path, *, num_threads=1, **options)`` with ``num_frames: int``, ``fps: float``,
    ``width: int``, ``height: int``, ``close()`` and ``read(indices) -> uint8 (T, C, H, W) RGB``; frame i is
    the i-th of decoding the file from its start.""",
)
DATASETS = _declare(
    "dataset",
    contract="""Callable ``(request: SplitRequest, **options)`` that builds the dataset of a split.

    It returns a `torch.utils.data.Dataset` with ``entries``, whose elements have ``label``. Its items are
    clip dictionaries with PyTorchVideo's keys, or a `BadVideo`, indexed by `SampleKey`.
    ``request.dataset(entries, open_video)`` builds such a dataset from a list and a function that opens a
    video.""",
)
OPTIMIZERS = _declare(
    "optimizer",
    contract="""Callable ``(param_groups, **options) -> torch.optim.Optimizer``; every group has its own
    ``lr`` and ``weight_decay``.""",
)
LR_POLICIES = _declare(
    "lr_policy",
    plural="lr_policies",
    contract="""Callable ``(*, num_epochs: int, **options)`` that returns a function from the completed
    fraction of the run, in [0, 1), to a factor on the learning rate.""",
)
LOSSES = _declare(
    "loss",
    plural="losses",
    contract="""Callable ``(*, num_classes: int, **options)`` that returns a function
    ``(logits (B, num_classes), target) -> loss of each clip (B,)``.

    The target is int64 (B,), or float (B, num_classes) with a batch transform or with several
    labels of a clip.""",
)
LOGGERS = _declare(
    "logger",
    contract="""Callable ``(*, folder: Path, run_name: str, recipe: dict, step: int, **options)`` that returns
    an object with ``write(step: int, epoch: int, values: dict[str, float])`` and ``close()``.

    ``folder`` is the run folder, ``run_name`` its name, ``recipe`` the settings by dotted key, ``step`` the
    steps that a resumed run has taken. It exists on the main rank only.""",
)


def rescan() -> None:
    """Clear the scan, to find components of a changed sys.path or new install."""
    installed_entry_points.cache_clear()
