"""BUILDERS and extend_builder: names of heads and bottlenecks in the builders of PyTorchVideo's networks.

For a name, the builder's own block is built first. The blocks are edited once the network is complete and
their positions are known. Arguments that are not names pass through unchanged.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tsn_tsm_plugin.registry import BOTTLENECKS, HEADS

_Build = Callable[..., Any]
_MODELS = "pytorchvideo.models"
_ONE_SCORE = (
    "a registered head gives one score per class and video, but this network is to give scores per {unit}: "
    "do not pass head"
)


@dataclass(frozen=True)
class Builder:
    """The arguments of a builder that accept names.

    Attributes:
        modules: Modules that contain the function.
        bottleneck: Keyword for the bottleneck; empty without a bottleneck.
        head: ``"slot"``; ``"replace"`` if the head of the finished network is replaced; or the reason why a
            named head cannot work.
        refused: Reason why a named bottleneck cannot work; empty if it can.
    """

    modules: tuple[str, ...]
    bottleneck: str = "bottleneck"
    head: str = "it builds no head"
    refused: str = ""


BUILDERS: dict[str, Builder] = {
    "create_resnet": Builder((f"{_MODELS}.resnet", _MODELS, f"{_MODELS}.hub.resnet"), head="slot"),
    "create_resnet_with_roi_head": Builder(
        (f"{_MODELS}.resnet", f"{_MODELS}.hub.resnet"), head=_ONE_SCORE.format(unit="box")
    ),
    "create_acoustic_resnet": Builder((f"{_MODELS}.resnet",), head="replace"),
    "create_slowfast": Builder(
        (f"{_MODELS}.slowfast", _MODELS, f"{_MODELS}.audio_visual_slowfast", f"{_MODELS}.hub.slowfast"),
        head="slot",
    ),
    "create_slowfast_with_roi_head": Builder(
        (f"{_MODELS}.slowfast", f"{_MODELS}.hub.slowfast"),
        head=_ONE_SCORE.format(unit="box"),
        refused="PyTorchVideo always builds it with its own blocks: do not pass bottleneck",
    ),
    "create_audio_visual_slowfast": Builder((f"{_MODELS}.audio_visual_slowfast",), head="replace"),
    "create_csn": Builder((f"{_MODELS}.csn", _MODELS, f"{_MODELS}.hub.csn"), head="replace"),
    "create_r2plus1d": Builder(
        (f"{_MODELS}.r2plus1d", f"{_MODELS}.hub.r2plus1d"), bottleneck="stage_bottleneck", head="replace"
    ),
    "create_x3d": Builder(
        (f"{_MODELS}.x3d", f"{_MODELS}.hub.x3d"),
        head="the head of X3D has convolutions that are part of the network: do not pass head",
    ),
    "create_multiscale_vision_transformers": Builder(
        (f"{_MODELS}.vision_transformers", _MODELS, f"{_MODELS}.hub.vision_transformers"),
        bottleneck="",
        head="a transformer gives tokens (B, L, C), but a registered head takes maps: do not pass head",
        refused="a transformer has no bottlenecks, and so no place for a shift",
    ),
    "create_res_stage": Builder((f"{_MODELS}.resnet",)),
    "create_res_block": Builder((f"{_MODELS}.resnet",)),
    "create_x3d_res_stage": Builder((f"{_MODELS}.x3d",)),
    "create_x3d_res_block": Builder((f"{_MODELS}.x3d",)),
    # The hub's models pass keywords to a builder that they imported before the patch.
    "_resnet": Builder((f"{_MODELS}.hub.resnet",), head="slot"),
    "_slowfast": Builder((f"{_MODELS}.hub.slowfast",), head="slot"),
}
"""Functions of PyTorchVideo whose slots take names."""


def extend_builder(name: str, is_active: Callable[[], bool], host: _Build) -> _Build:
    """Return PyTorchVideo's builder, extended with the names of `BOTTLENECKS` and `HEADS`."""
    builder = BUILDERS[name]
    slots = {"head", "bottleneck", builder.bottleneck} - {""}

    @functools.wraps(host)
    def build(*args: Any, **keywords: Any) -> Any:
        named = {slot for slot in slots & keywords.keys() if _has_name(keywords[slot])}
        if not named or not is_active():
            return host(*args, **keywords)
        if "model_builder" in inspect.signature(host).parameters:
            default = inspect.signature(host).parameters["model_builder"].default
            current = vars(sys.modules[host.__module__])[default.__name__]
            return host(*args, **{"model_builder": current, **keywords})
        return _build_named(name, builder, host, named, args, dict(keywords))

    return build


def _build_named(
    name: str,
    builder: Builder,
    host: _Build,
    named: set[str],
    args: tuple[Any, ...],
    keywords: dict[str, Any],
) -> Any:
    new_head = ""
    if "head" in named:
        new_head = _take_head(name, builder, keywords)
    for slot in named - {"head"}:
        if builder.refused:
            raise ValueError(f"{name}({slot}={keywords[slot]!r}): {builder.refused}.")
        value = keywords.pop(slot)
        default = inspect.signature(host).parameters[builder.bottleneck].default
        keywords[builder.bottleneck] = _fill(value, default, is_whole=isinstance(value, str))
    network = host(*args, **keywords)
    if named - {"head"}:
        network = _edit_blocks(network)
    if new_head:
        _replace_head(network, new_head, host, keywords)
    return network


def _take_head(name: str, builder: Builder, keywords: dict[str, Any]) -> str:
    """Put the named head into its slot; return its name if the head must be replaced later."""
    head = keywords["head"]
    create = HEADS.get(head)
    if builder.head == "replace":
        del keywords["head"]
        return str(head)
    if builder.head != "slot":
        raise ValueError(f"{name}(head={head!r}): {builder.head}.")
    keywords["head"] = create
    if name == "create_slowfast" and "head_pool" not in keywords:
        # Pool the pathways globally before the head, for any input size.
        from torch import nn

        keywords["head_pool"] = nn.AdaptiveAvgPool3d
    return ""


def _replace_head(network: Any, head: str, host: _Build, keywords: Mapping[str, Any]) -> None:
    defaults = {key: value.default for key, value in inspect.signature(host).parameters.items()}
    options = {**defaults, **keywords}
    projection = network.blocks[-1].proj
    network.blocks[-1] = HEADS.get(head)(
        in_features=projection.in_features,
        out_features=projection.out_features,
        pool=None,
        output_size=options["head_output_size"],
        pool_kernel_size=(1, 7, 7),
        dropout_rate=options["dropout_rate"],
        activation=options["head_activation"],
        output_with_global_average=options["head_output_with_global_average"],
    )


def _has_name(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_has_name(item) for item in value)
    return isinstance(value, str)


class _NamedBottleneck:
    """Creates the host's block and marks it; `_edit_blocks` edits marked blocks."""

    def __init__(self, name: str, create_block: _Build, *, is_whole: bool) -> None:
        self.edit = BOTTLENECKS.get(name)
        self.create_block = create_block
        self.is_whole = is_whole

    def __call__(self, **block: Any) -> Any:
        module = self.create_block(**block)
        module._named_bottleneck = self
        return module


def _fill(value: Any, default: Any, *, is_whole: bool) -> Any:
    """Return the slot's value with every name replaced; ``default`` has the host's blocks by position."""
    if isinstance(value, str):
        if isinstance(default, list | tuple):
            return tuple(_fill(value, item, is_whole=is_whole) for item in default)
        return _NamedBottleneck(value, _block_of(default), is_whole=is_whole)
    if isinstance(value, list | tuple):
        nested = isinstance(default, list | tuple) and len(default) == len(value)
        return tuple(
            _fill(item, default[i] if nested else default, is_whole=False) for i, item in enumerate(value)
        )
    return value


def _block_of(default: Any) -> _Build:
    """Return the host's function for a block; stage builders have no default block."""
    if default is not inspect.Parameter.empty:
        return default  # type: ignore[no-any-return]
    from pytorchvideo.models.resnet import create_bottleneck_block

    return create_bottleneck_block  # type: ignore[no-any-return]


def _edit_blocks(network: Any) -> Any:
    from pytorchvideo.models.resnet import ResStage

    # Each pathway of SlowFast is a separate network.
    pathways: dict[str, list[Any]] = {}
    for path, module in network.named_modules():
        if isinstance(module, ResStage):
            pathway = path.partition("multipathway_blocks.")[2]
            pathways.setdefault(pathway, []).append(module.res_blocks)
    for stages in pathways.values():
        depths = tuple(len(blocks) for blocks in stages)
        for stage, blocks in enumerate(stages):
            for index, block in enumerate(blocks):
                number = stage if len(stages) > 1 else None
                blocks[index] = _edited(block, index=index, stage=number, depths=depths)
    # A block built alone is the only block of its stage.
    return _edited(network, index=0, stage=None, depths=(1,))


def _edited(block: Any, *, index: int, stage: int | None, depths: tuple[int, ...]) -> Any:
    branch = getattr(block, "branch2", None)
    note: _NamedBottleneck | None = (
        vars(branch).pop("_named_bottleneck", None) if branch is not None else None
    )
    if note is None:
        return block
    return note.edit(block, index=index, stage=stage if note.is_whole else None, depths=depths)
