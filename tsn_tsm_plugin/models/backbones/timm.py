"""timm_backbone: Swin-B, MobileOne-S4 and any classifier of timm by name."""

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import timm

from tsn_tsm_plugin.checkpoints.download import without_hub_retries
from tsn_tsm_plugin.errors import ConfigError, UnknownComponentError
from tsn_tsm_plugin.models.backbones.imagenet_weights import fetch_timm_weights, load_imagenet_weights
from tsn_tsm_plugin.models.backbones.trunk import TrunkBackbone, build_sized

# Options for another size than the default.
_SIZE_OPTIONS = {"dynamic_img_size": lambda side: True, "img_size": lambda side: side}
_HUB = "hf-hub:"


def swin_base_patch4_window7_224(*, weights: str = "") -> TrunkBackbone:
    """Create Swin-B: 1024 features; frames of any size."""
    return timm_backbone("swin_base_patch4_window7_224", weights=weights, dynamic_img_size=True)


def mobileone_s4(*, weights: str = "") -> TrunkBackbone:
    """Create MobileOne-S4 in its training form: 2048 features, every block but the stem shifted."""
    return timm_backbone("mobileone_s4", weights=weights)


def timm_backbone(
    name: str, *, weights: str = "", image_sizes: Sequence[int] = (), **options: Any
) -> TrunkBackbone:
    """Create a backbone from the image classifier of that name in timm.

    Args:
        name: Name such as ``"convnext_tiny"``, or ``"hf-hub:OWNER/NAME"`` on the Hugging Face hub.
        weights: A tag of timm's weights such as ``"fb_in1k"``, ``"default"`` for timm's choice, a file, or ""
            for random weights.
        image_sizes: Sides of the frames that the network must take, in pixels. A network that takes only its
            own size is built with timm's option for another size. Empty: the network's own size.
        **options: Keywords of ``timm.create_model``.

    Raises:
        UnknownComponentError: If timm has no such classifier.
        CheckpointError: If the weights are not available, or belong to another network.
        ConfigError: If the network does not take an option, or frames of these sizes.
    """
    if not name.startswith(_HUB) and not timm.is_model(name):
        near = ", ".join(timm.list_models(f"{name.split('_')[0]}*")[:10]) or "none"
        raise UnknownComponentError(
            f"timm {timm.__version__} has no image classifier {name!r}; of the same family it has: {near}."
        )
    backbone = build_sized(
        f"timm's {name}",
        partial(_create, name),
        sizes=image_sizes,
        options=options,
        size_options=_SIZE_OPTIONS,
        takes_any=("dynamic_img_size",),
    )
    load_imagenet_weights(backbone.trunk, name=name, weights=weights, fetch=fetch_timm_weights)
    return backbone


def _create(name: str, **options: Any) -> TrunkBackbone:
    waits = without_hub_retries() if name.startswith(_HUB) else contextlib.nullcontext()
    try:
        with waits:
            trunk = timm.create_model(name, **{"num_classes": 0, **options})
    except TypeError as error:
        raise ConfigError(f"timm's {name} does not take the options {options}: {error}.") from error
    except Exception as error:
        if not name.startswith(_HUB):
            raise
        raise UnknownComponentError(
            f"timm cannot get {name!r} from the Hugging Face hub ({type(error).__name__}: {error}): check "
            "the name, and fetch it once on a machine with a network."
        ) from error
    pretrained_cfg: dict[str, Any] = getattr(trunk, "pretrained_cfg", {})
    size = options.get("img_size") or pretrained_cfg.get("input_size", (3, 224, 224))[1:]
    num_features: Any = getattr(trunk, "head_hidden_size", None) or trunk.num_features
    return TrunkBackbone(trunk, num_features=num_features, size=size)
