"""TSN and TSM: a 2D network on the frames of a clip and a head on what it sees.

Axes: B videos, C channels, T frames, H rows, W columns, K classes.
Sources: Wang et al., "Temporal Segment Networks", arXiv:1608.00859; Lin et al., "TSM", arXiv:1811.08383.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tsn_tsm_plugin.layers.non_local import NonLocal, NonLocalAfter
from tsn_tsm_plugin.layers.replace import replace_submodule
from tsn_tsm_plugin.layers.temporal_pool import TemporalPool, num_pooled_frames
from tsn_tsm_plugin.layers.temporal_shift import install_temporal_shift
from tsn_tsm_plugin.models.backbones.create import create_backbone
from tsn_tsm_plugin.models.backbones.non_local_sites import NonLocalOptions, find_non_local_sites
from tsn_tsm_plugin.models.heads import TSMHead, TSNHead, create_head


class _FrameRecognizer(nn.Module):
    """Fold the frames into the batch, run the backbone once, unfold at the head.

    Args:
        backbone: Maps (N, 3, H, W) to (N, num_features, h, w); its parameters become channels_last.
        head: Maps (B, num_features, T, h, w) to (B, K).
        backbone_name: For :meth:`describe`.
        num_classes: K.
        num_segments: Frames that a view is trained with.
    """

    own_head: type[nn.Module]
    # What it is trained for, e.g. "sthv2", where a recipe tells; checkpoints for another are refused.
    dataset: str = ""

    def __init__(
        self, *, backbone: nn.Module, head: nn.Module, backbone_name: str, num_classes: int, num_segments: int
    ) -> None:
        super().__init__()
        if num_segments < 1:
            raise ValueError(f"num_segments must be at least 1, got {num_segments}.")
        self.backbone = backbone.to(memory_format=torch.channels_last)
        self.head = head
        self.backbone_name = backbone_name
        self.num_classes = num_classes
        self.num_segments = num_segments

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Map normalised RGB views (B, 3, T, H, W) to scores (B, K) before any softmax."""
        if x_BCTHW.ndim != 5:
            raise ValueError(f"The input must be (B, 3, T, H, W), got shape {tuple(x_BCTHW.shape)}.")
        num_videos = x_BCTHW.shape[0]
        x_NCHW = x_BCTHW.transpose(1, 2).flatten(0, 1)
        x_NCHW = self.backbone(x_NCHW.contiguous(memory_format=torch.channels_last))
        return self.head(x_NCHW.unflatten(0, (num_videos, -1)).transpose(1, 2))

    def describe(self) -> str:
        """Say in one line what this network is."""
        other_head = "" if isinstance(self.head, self.own_head) else f", head={type(self.head).__name__}"
        return (
            f"{type(self).__name__}: backbone={self.backbone_name}, num_segments={self.num_segments}, "
            f"num_classes={self.num_classes}{other_head}"
        )

    def extra_repr(self) -> str:
        """Open the ``repr`` with :meth:`describe`."""
        return self.describe()


class TSN(_FrameRecognizer):
    """Temporal segment network: every frame on its own, features averaged over the frames.

    Any number of frames may be given: ``num_segments`` in training, more in testing.

    Attributes:
        view_average: ``"features"``, which for this head is the same as the mean of the views' scores.
    """

    view_average = "features"
    own_head = TSNHead

    def describe(self) -> str:
        """Say in one line what this network is."""
        return f"{super().describe()}, no temporal shift"


class TSM(_FrameRecognizer):
    """Temporal shift network: the blocks of the backbone exchange channels with neighbouring frames.

    Args:
        backbone: With the method ``temporal_shift_sites(shift_place)``.
        head: Averages the scores of the frames.
        backbone_name: For messages.
        num_classes: K.
        num_segments: T. Another number of frames is refused.
        shift_div: One ``shift_div``-th of the channels is shifted each way.
        shift_place: ``"blockres"`` or ``"block"``.
        temporal_pool: Halve the number of frames before the second stage.
        causal: Shift from the past only.
        non_local: Non-local blocks, or ``None``.

    Attributes:
        view_average: ``"probabilities"``: the softmax is taken per view and then averaged.
        shift_sites: Names of the shifted submodules of the backbone, before they were wrapped.
        non_local_sites: Names of the blocks that a non-local block follows.
    """

    view_average = "probabilities"
    own_head = TSMHead

    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: nn.Module,
        backbone_name: str,
        num_classes: int,
        num_segments: int,
        shift_div: int = 8,
        shift_place: str = "blockres",
        temporal_pool: bool = False,
        causal: bool = False,
        non_local: NonLocalOptions | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            head=head,
            backbone_name=backbone_name,
            num_classes=num_classes,
            num_segments=num_segments,
        )
        self.shift_div = shift_div
        self.shift_place = shift_place
        self.temporal_pool = temporal_pool
        self.causal = causal
        self.non_local = non_local
        self.shift_sites = _shift_sites(backbone, backbone_name, shift_place)
        non_local_sites = find_non_local_sites(backbone, non_local.places) if non_local else {}
        frames_at = {site: self._num_frames_at(site) for site in self.shift_sites}
        install_temporal_shift(backbone, frames_at, shift_div=shift_div, causal=causal)
        for site, num_channels in non_local_sites.items():
            self._add_non_local(site, num_channels)
        self.non_local_sites = list(non_local_sites)
        if temporal_pool:
            pooled = TemporalPool(backbone.get_submodule(self._pool_site), num_segments=num_segments)
            replace_submodule(backbone, self._pool_site, pooled)

    def _add_non_local(self, site: str, num_channels: int) -> None:
        assert self.non_local is not None
        block = NonLocal(
            num_channels,
            kind=self.non_local.kind,
            use_scale=self.non_local.use_scale,
            sub_sample=self.non_local.sub_sample,
        )
        followed = NonLocalAfter(
            self.backbone.get_submodule(site), block, num_segments=self._num_frames_at(site)
        )
        replace_submodule(self.backbone, site, followed)

    @property
    def _pool_site(self) -> str:
        site = getattr(self.backbone, "temporal_pool_site", None)
        if not isinstance(site, str):
            raise ValueError(
                f"temporal_pool must be off for {self.backbone_name!r}: only ResNets have a place for it."
            )
        return site

    def _num_frames_at(self, site: str) -> int:
        # The stages of a ResNet are named layer1 to layer4.
        if self.temporal_pool and site.split(".")[0] >= self._pool_site:
            return num_pooled_frames(self.num_segments)
        return self.num_segments

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Map normalised RGB views (B, 3, T, H, W), T = num_segments, to scores (B, K) before any softmax."""
        if x_BCTHW.ndim == 5 and x_BCTHW.shape[2] != self.num_segments:
            raise ValueError(
                f"This TSM was built for num_segments={self.num_segments} frames per view, got "
                f"{x_BCTHW.shape[2]}: give several views of a video as a larger batch, or build the model "
                "with another num_segments."
            )
        return super().forward(x_BCTHW)

    def describe(self) -> str:
        """Say in one line what this network is."""
        direction = ", causal (past to present only)" if self.causal else ""
        pool = ", temporal_pool before stage 2" if self.temporal_pool else ""
        non_local = ""
        if self.non_local:
            non_local = f", {self.non_local.kind} non-local after {', '.join(self.non_local_sites)}"
        return (
            f"{super().describe()}, temporal shift at {len(self.shift_sites)} sites "
            f"(shift_div={self.shift_div}, shift_place={self.shift_place}{direction}){pool}{non_local}"
        )


def _shift_sites(backbone: nn.Module, backbone_name: str, shift_place: str) -> list[str]:
    find_sites = getattr(backbone, "temporal_shift_sites", None)
    sites = find_sites(shift_place) if find_sites is not None else []
    if not sites:
        raise ValueError(
            f"Backbone {backbone_name!r} has no residual blocks that the temporal "
            "shift can name: use it with TSN, or give it a method temporal_shift_sites(shift_place)."
        )
    return sites


def _num_features(backbone: nn.Module, backbone_name: str) -> int:
    num_features = getattr(backbone, "num_features", None)
    if not isinstance(num_features, int):
        raise ValueError(
            f"Backbone {backbone_name!r} must have an attribute num_features, the width of its feature map, "
            f"got {num_features!r}."
        )
    return num_features


def create_tsn(
    *,
    backbone: str = "resnet50",
    num_classes: int = 400,
    num_segments: int = 8,
    dropout_rate: float = 0.4,
    fc_init_std: float = 0.01,
    weights: str = "",
    head: str = "",
) -> TSN:
    """Create a TSN, module (B, 3, T, H, W) -> (B, K).

    Example:
        >>> model = create_tsn(backbone="resnet18", num_classes=8, num_segments=3)
        >>> model(torch.rand(2, 3, 25, 64, 64)).shape  # trained with 3 frames, tested with 25
        torch.Size([2, 8])

    Args:
        backbone: Name of a registered backbone, ``"torchvision/NAME"`` or ``"timm/NAME"``.
        num_classes: K.
        num_segments: Frames that a view is trained with; the network takes any number.
        dropout_rate: Of the averaged features, in [0, 1).
        fc_init_std: Standard deviation of the classifier's initial weights.
        weights: ImageNet weights of the backbone, e.g. ``"IMAGENET1K_V1"`` or a file.
        head: Name of a registered head, which starts from weights of its own kind; empty is TSN's.
    """
    network = create_backbone(backbone, weights=weights)
    return TSN(
        backbone=network,
        head=create_head(
            head,
            own=TSNHead,
            in_features=_num_features(network, backbone),
            num_classes=num_classes,
            dropout_rate=dropout_rate,
            fc_init_std=fc_init_std,
        ),
        backbone_name=backbone,
        num_classes=num_classes,
        num_segments=num_segments,
    )


def create_tsm(
    *,
    backbone: str = "resnet50",
    num_classes: int = 400,
    num_segments: int = 8,
    dropout_rate: float = 0.5,
    fc_init_std: float = 0.001,
    weights: str = "",
    head: str = "",
    shift_div: int = 8,
    shift_place: str = "blockres",
    temporal_pool: bool = False,
    causal: bool = False,
    non_local: str | tuple[str, Sequence[str]] | Mapping[str, Any] | NonLocalOptions | None = None,
) -> TSM:
    """Create a TSM, module (B, 3, num_segments, H, W) -> (B, K).

    Example:
        >>> model = create_tsm(backbone="resnet18", num_classes=8, num_segments=8)
        >>> model.describe()
        'TSM: backbone=resnet18, num_segments=8, num_classes=8, temporal shift at 8 sites (...)'
        >>> model(torch.rand(2, 3, 8, 64, 64)).shape
        torch.Size([2, 8])

    Args:
        backbone: As for :func:`create_tsn`; its residual blocks must be known.
        num_classes: K.
        num_segments: Frames of a view.
        dropout_rate: Of the features of every frame, in [0, 1).
        fc_init_std: Standard deviation of the classifier's initial weights.
        weights: ImageNet weights of the backbone, e.g. ``"IMAGENET1K_V1"`` or a file.
        head: As for :func:`create_tsn`; empty is TSM's.
        shift_div: One ``shift_div``-th of the channels is shifted each way.
        shift_place: ``"blockres"``: the identity of a block is not shifted; ``"block"``: it is.
        temporal_pool: Halve the number of frames before the second stage.
        causal: Shift from the past only, for streams.
        non_local: A kind of :class:`~tsn_tsm_plugin.layers.NonLocal`, placed as in the papers; or a pair of
            kind and names of blocks such as ``("dot_product", ["layer2.0", "layer3.4"])``; or a mapping with
            the keys ``kind``, ``places``, ``use_scale``, ``sub_sample``.
    """
    network = create_backbone(backbone, weights=weights)
    return TSM(
        backbone=network,
        head=create_head(
            head,
            own=TSMHead,
            in_features=_num_features(network, backbone),
            num_classes=num_classes,
            dropout_rate=dropout_rate,
            fc_init_std=fc_init_std,
        ),
        backbone_name=backbone,
        num_classes=num_classes,
        num_segments=num_segments,
        shift_div=shift_div,
        shift_place=shift_place,
        temporal_pool=temporal_pool,
        causal=causal,
        non_local=None if non_local is None else NonLocalOptions.parse(non_local),
    )
