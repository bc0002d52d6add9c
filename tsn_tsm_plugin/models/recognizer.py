"""TSN and TSM: a 2D network on the frames of a clip, and a head on its features.

Axes: B videos, C channels, T frames, H rows, W columns, K classes.
Sources: Wang et al., "Temporal Segment Networks", arXiv:1608.00859; Lin et al., "TSM", arXiv:1811.08383.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.layers.temporal_pool import TemporalPool, num_pooled_frames
from tsn_tsm_plugin.models.backbones.non_local_sites import NonLocalOptions
from tsn_tsm_plugin.models.heads import TSMHead, TSNHead
from tsn_tsm_plugin.models.temporal_modules import (
    NON_LOCAL,
    SHIFT,
    TemporalModuleOptions,
    plan_temporal_modules,
)

_USE_EXPORT = (
    "use torch.export.export(model, (clip,)), or the command tsn-tsm-export, whose files run without this "
    "library."
)


class _FrameRecognizer(nn.Module):
    """Fold the frames into the batch, run the backbone once, unfold at the head.

    Args:
        backbone: Module that maps (N, 3, H, W) to (N, num_features, h, w).
        head: Module that maps (B, num_features, T, h, w) to (B, K).
        backbone_name: Name of the backbone, for :meth:`describe`.
        num_classes: K.
        num_segments: Frames of a view in training.
        in_channels: Channels of a segment: 3 for RGB, 10 for flow, 15 for RGB differences.
    """

    own_head: type[TSNHead] | type[TSMHead]
    # Dataset of the recipe, e.g. "sthv2", or empty. Checkpoints of another dataset are refused.
    dataset: str = ""

    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: nn.Module,
        backbone_name: str,
        num_classes: int,
        num_segments: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if num_segments < 1:
            raise ValueError(f"num_segments must be at least 1, got {num_segments}.")
        self.backbone = backbone
        self.head = head
        self.backbone_name = backbone_name
        self.num_classes = num_classes
        self.num_segments = num_segments
        self.in_channels = in_channels

    def __prepare_scriptable__(self) -> nn.Module:
        """Refuse ``torch.jit.script``, which calls this method first."""
        raise ConfigError(f"torch.jit.script cannot compile a {type(self).__name__}: {_USE_EXPORT}")

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Map normalised views (B, in_channels, T, H, W) to scores (B, K) before any softmax."""
        if isinstance(x_BCTHW, fx.Proxy):
            raise ConfigError(f"torch.fx cannot trace a {type(self).__name__}: {_USE_EXPORT}")
        if x_BCTHW.ndim != 5:
            shape = tuple(x_BCTHW.shape)
            raise ValueError(f"The input must be (B, {self.in_channels}, T, H, W), got shape {shape}.")
        if not x_BCTHW.is_floating_point():
            raise TypeError(
                f"The input must be normalised floats, got {x_BCTHW.dtype}: pass it through "
                "tsn_tsm_plugin.transforms.Normalize(mean, std), or call what load_trained returns."
            )
        num_videos = x_BCTHW.shape[0]
        x_NCHW = x_BCTHW.transpose(1, 2).flatten(0, 1)
        x_NCHW = self.backbone(x_NCHW.contiguous(memory_format=torch.channels_last))
        return self.head(x_NCHW.unflatten(0, (num_videos, -1)).transpose(1, 2))

    def describe(self) -> str:
        """Return a description of the network in one line."""
        other_head = "" if isinstance(self.head, self.own_head) else f", head={type(self.head).__name__}"
        channels = "" if self.in_channels == 3 else f", in_channels={self.in_channels}"
        return (
            f"{type(self).__name__}: backbone={self.backbone_name}, num_segments={self.num_segments}, "
            f"num_classes={self.num_classes}{channels}{other_head}"
        )

    def extra_repr(self) -> str:
        """Open the ``repr`` with :meth:`describe`."""
        return self.describe()


class TSN(_FrameRecognizer):
    """Temporal segment network: the backbone sees every frame separately, the head averages the features.

    Any number of frames may be given: ``num_segments`` in training, more in testing.

    Attributes:
        view_average: ``"features"``; for this head equal to the mean of the views' scores.
    """

    view_average = "features"
    own_head = TSNHead

    def describe(self) -> str:
        """Return a description of the network in one line."""
        return f"{super().describe()}, no temporal shift"


class TSM(_FrameRecognizer):
    """Temporal shift network: the blocks of the backbone exchange channels with neighbouring frames.

    Args:
        shift_div: One ``shift_div``-th of the channels is shifted each way.
        shift_place: ``"blockres"`` or ``"block"``.
        temporal_pool: Halve the number of frames before the second stage.
        causal: Shift from the past only.
        non_local: Non-local blocks, or ``None``.
        sites: Patterns of the submodules that see shifted features; empty: the backbone's declared sites.
        tokens: ``"all"``, or ``"class"`` to shift class and register tokens only.
        temporal_modules: Modules at the sites; empty: the temporal shift.
        **network: Arguments of :class:`TSN`. Without ``sites``, the backbone needs the method
            ``temporal_shift_sites(shift_place)``. Clips must have ``num_segments`` frames.

    Attributes:
        view_average: ``"probabilities"``: the softmax is taken per view, then the views are averaged.
        shift_sites: Names of the shifted submodules of the backbone, before they were wrapped.
        unshifted_sites: Names of declared sites that see windows of frames and are not shifted.
        non_local_sites: Names of the blocks that a non-local block follows.
        other_sites: Names of the sites of other temporal modules, by name of the module.
    """

    view_average = "probabilities"
    own_head = TSMHead

    def __init__(
        self,
        *,
        shift_div: int = 8,
        shift_place: str = "blockres",
        temporal_pool: bool = False,
        causal: bool = False,
        non_local: NonLocalOptions | None = None,
        sites: Sequence[str] = (),
        tokens: str = "all",
        temporal_modules: Sequence[str | Mapping[str, Any] | TemporalModuleOptions] = (),
        **network: Any,
    ) -> None:
        super().__init__(**network)
        backbone = self.backbone
        shift = TemporalModuleOptions(
            SHIFT, tuple(sites), {"shift_div": shift_div, "causal": causal, "tokens": tokens}
        )
        modules = [TemporalModuleOptions.parse(module) for module in temporal_modules or (shift,)]
        modules = [module.with_defaults(shift) for module in modules]
        if non_local:
            modules.append(TemporalModuleOptions(NON_LOCAL, options=vars(non_local)))
        by_name = {module.name: module for module in modules}
        self.shift_div = by_name.get(SHIFT, shift).options["shift_div"]
        self.causal = by_name.get(SHIFT, shift).options["causal"]
        self.non_local = by_name[NON_LOCAL].non_local() if NON_LOCAL in by_name else None
        self.shift_place = shift_place
        self.temporal_pool = temporal_pool
        needs_declared = any(not module.sites for module in modules if module.name != NON_LOCAL)
        declared = _declared_sites(backbone, self.backbone_name, shift_place) if needs_declared else []
        planned = plan_temporal_modules(
            backbone, modules, declared_sites=declared, num_frames_at=self._num_frames_at
        )
        sites_of = {name: [site for site, _ in wrappers] for name, wrappers in planned.items()}
        self.shift_sites = sites_of.pop(SHIFT, [])
        is_named = bool(by_name.get(SHIFT, shift).sites)
        self.unshifted_sites = [] if is_named else [site for site in declared if site not in self.shift_sites]
        self.non_local_sites = sites_of.pop(NON_LOCAL, [])
        self.other_sites = sites_of
        pool_site = self._pool_site if temporal_pool else ""
        wrappers = [wrapper for wrappers in planned.values() for wrapper in wrappers]
        # Wrap inner modules first: the names refer to the network before any wrapper.
        for site, wrap in sorted(wrappers, key=lambda wrapper: -wrapper[0].count(".")):
            backbone.set_submodule(site, wrap(backbone.get_submodule(site)))
        if temporal_pool:
            pooled = TemporalPool(backbone.get_submodule(pool_site), num_segments=self.num_segments)
            backbone.set_submodule(pool_site, pooled)

    @property
    def _pool_site(self) -> str:
        site = getattr(self.backbone, "temporal_pool_site", None)
        if not isinstance(site, str):
            raise ValueError(
                f"temporal_pool must be off for {self.backbone_name!r}: only networks with stages named "
                "layer1 to layer4 have a place for it, as ResNets do."
            )
        return site

    def _num_frames_at(self, site: str) -> int:
        # The stages of a ResNet are named layer1 to layer4.
        stage = site.removeprefix("trunk.").split(".")[0]
        if self.temporal_pool and stage.startswith("layer") and stage >= self._pool_site.rpartition(".")[2]:
            return num_pooled_frames(self.num_segments)
        return self.num_segments

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Map normalised views (B, in_channels, T, H, W), T = num_segments, to scores (B, K), no softmax."""
        is_clip = isinstance(x_BCTHW, Tensor) and x_BCTHW.ndim == 5
        if is_clip and x_BCTHW.shape[2] != self.num_segments:
            raise ValueError(
                f"This TSM was built for num_segments={self.num_segments} frames per view, got "
                f"{x_BCTHW.shape[2]}: give several views of a video as a larger batch, or build the model "
                "with another num_segments."
            )
        return super().forward(x_BCTHW)

    def describe(self) -> str:
        """Return a description of the network in one line."""
        pool = ", temporal_pool before stage 2" if self.temporal_pool else ""
        others = "".join(f", {name} at {len(sites)} sites" for name, sites in self.other_sites.items())
        non_local = ""
        if self.non_local:
            non_local = f", {self.non_local.kind} non-local after {', '.join(self.non_local_sites)}"
        return f"{super().describe()}, {self._describe_shift()}{pool}{others}{non_local}"

    def _describe_shift(self) -> str:
        if not self.shift_sites:
            return "no temporal shift"
        direction = ", causal (past to present only)" if self.causal else ""
        unshifted = ""
        if self.unshifted_sites:
            unshifted = f", but not at {len(self.unshifted_sites)} that see windows of a frame"
        return (
            f"temporal shift at {len(self.shift_sites)} sites "
            f"(shift_div={self.shift_div}, shift_place={self.shift_place}{direction}){unshifted}"
        )


def _declared_sites(backbone: nn.Module, backbone_name: str, shift_place: str) -> list[str]:
    find_sites = getattr(backbone, "temporal_shift_sites", None)
    sites = find_sites(shift_place) if find_sites is not None else []
    if not sites:
        raise ValueError(
            f"Backbone {backbone_name!r} has no residual blocks that the temporal shift can name: use it "
            "with TSN, name its submodules with sites (TSM.SITES), or give it a method "
            "temporal_shift_sites(shift_place)."
        )
    return list(sites)
