"""Backbones from timm: Swin-B and MobileOne-S4 of the model zoo, and any by name."""

from typing import Any

import timm
from torch import Tensor, nn

from tsn_tsm_plugin.errors import UnknownComponentError
from tsn_tsm_plugin.models.backbones.imagenet_weights import fetch_timm_weights, load_imagenet_weights
from tsn_tsm_plugin.models.backbones.shift_sites import find_shift_sites


class TimmBackbone(nn.Module):
    """Any image classifier of timm without its last layer; parameters are under ``trunk``.

    The pooling is timm's own, so that tokens, channels-last maps and networks with a layer behind the pooling
    all give the features that timm's classifier would see.

    Args:
        trunk: Of ``timm.create_model(num_classes=0)``.
    """

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.num_features: int = getattr(trunk, "head_hidden_size", None) or trunk.num_features  # type: ignore

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map normalised frames (N, 3, H, W) to pooled features (N, num_features, 1, 1)."""
        return self.trunk(x_NCHW)[:, :, None, None]

    def temporal_shift_sites(self, shift_place: str) -> list[str]:
        """See :mod:`~tsn_tsm_plugin.models.backbones.shift_sites`; none for other families."""
        return [f"trunk.{site}" for site in find_shift_sites(self.trunk, shift_place)]


def swin_base_patch4_window7_224(*, weights: str = "") -> TimmBackbone:
    """Create Swin-B: 1024 features, for TSN only; frames of any size."""
    return timm_backbone("swin_base_patch4_window7_224", weights=weights, dynamic_img_size=True)


def mobileone_s4(*, weights: str = "") -> TimmBackbone:
    """Create MobileOne-S4 in its training form: 2048 features, every block but the stem shifted."""
    return timm_backbone("mobileone_s4", weights=weights)


def timm_backbone(name: str, *, weights: str = "", **options: Any) -> TimmBackbone:
    """Create a backbone from the image classifier of that name in timm.

    Args:
        name: E.g. ``"convnext_tiny"``.
        weights: A tag of timm's weights such as ``"fb_in1k"``, ``"default"`` for timm's choice, a file, or ""
            for random ones.
        **options: Handed to ``timm.create_model``.

    Raises:
        UnknownComponentError: If timm has no such classifier.
        CheckpointError: If the weights cannot be had, or belong to another network.
    """
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"{name.split('_')[0]}*")[:10]) or "none"
        raise UnknownComponentError(
            f"timm {timm.__version__} has no image classifier {name!r}; of the same family it has: {near}."
        )
    backbone = TimmBackbone(timm.create_model(name, num_classes=0, **options))
    load_imagenet_weights(backbone.trunk, name=name, weights=weights, fetch=fetch_timm_weights)
    return backbone
