"""FeaturesBackbone, torchvision_backbone: torchvision's DenseNet, MobileNetV2 and any classifier by name."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torchvision
from torch import Tensor, nn

from tsn_tsm_plugin.errors import ConfigError, UnknownComponentError
from tsn_tsm_plugin.models.backbones.imagenet_weights import fetch_torchvision_weights, load_imagenet_weights
from tsn_tsm_plugin.models.backbones.shift_sites import find_shift_sites
from tsn_tsm_plugin.models.backbones.trunk import TrunkBackbone, build_sized

# Attributes of torchvision's networks that hold the classifier.
_CLASSIFIERS = ("fc", "classifier", "head", "heads")
# Options of ViT and MaxViT for another size than the default.
_SIZE_OPTIONS = {"image_size": lambda side: side, "input_size": lambda side: (side, side)}
_SIDE = 224


class FeaturesBackbone(nn.Module):
    """The ``features`` of a torchvision network, without pooling and classifier.

    Args:
        features: Module that maps (N, 3, H, W) to (N, num_features, h, w).
        num_features: Channels of the feature map.
    """

    def __init__(self, features: nn.Module, *, num_features: int) -> None:
        super().__init__()
        self.features = features
        self.num_features = num_features

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map normalised frames (N, 3, H, W) to features (N, num_features, h, w)."""
        return self.features(x_NCHW)

    def temporal_shift_sites(self, shift_place: str) -> list[str]:
        """See :func:`~tsn_tsm_plugin.models.backbones.shift_sites.find_shift_sites`."""
        return find_shift_sites(self, shift_place)


def densenet161(*, weights: str = "") -> FeaturesBackbone:
    """Create DenseNet-161: 2208 features, without a ReLU after the last normalisation, as in MMAction2."""
    network = torchvision.models.densenet161()
    backbone = FeaturesBackbone(network.features, num_features=network.classifier.in_features)
    load_imagenet_weights(backbone, name="densenet161", weights=weights, fetch=fetch_torchvision_weights)
    return backbone


def mobilenet_v2(*, weights: str = "") -> FeaturesBackbone:
    """Create MobileNetV2: 1280 features, 10 shifted blocks."""
    network = torchvision.models.mobilenet_v2()
    backbone = FeaturesBackbone(network.features, num_features=network.last_channel)
    load_imagenet_weights(backbone, name="mobilenet_v2", weights=weights, fetch=fetch_torchvision_weights)
    return backbone


def _remove_classifier(network: nn.Module) -> int:
    """Replace the last layer by the identity, disable its dropout and return its input width."""
    container_name = next(name for name in _CLASSIFIERS if hasattr(network, name))
    container = network.get_submodule(container_name)
    layers = {name: m for name, m in container.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    last_name, last = list(layers.items())[-1]
    for module in container.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    network.set_submodule(f"{container_name}.{last_name}".rstrip("."), nn.Identity())
    return last.in_features if isinstance(last, nn.Linear) else last.in_channels


def torchvision_backbone(
    name: str, *, weights: str = "", image_sizes: Sequence[int] = (), **options: Any
) -> TrunkBackbone:
    """Create a backbone from the image classifier of that name in torchvision.

    Args:
        name: Name such as ``"regnet_y_8gf"``.
        weights: A name of the weights enum such as ``"IMAGENET1K_V1"``, a file, or "" for random weights.
        image_sizes: Sides of the frames that the network must take, in pixels. A ViT or MaxViT is built for
            this size. Empty: the network's own size.
        **options: Keywords of torchvision's function of that name.

    Raises:
        UnknownComponentError: If torchvision has no such classifier.
        ConfigError: If the network does not take an option, or frames of these sizes.
        CheckpointError: If the weights are not available, or belong to another network.
    """
    backbone = build_sized(
        f"torchvision's {name}",
        partial(_create, name),
        sizes=image_sizes,
        options=options,
        size_options=_SIZE_OPTIONS,
    )
    load_imagenet_weights(backbone.trunk, name=name, weights=weights, fetch=fetch_torchvision_weights)
    return backbone


def _create(name: str, **options: Any) -> TrunkBackbone:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UnknownComponentError(
            f"torchvision has no image classifier {name!r}; it has {', '.join(known)}."
        )
    # Inception and GoogLeNet would return scores of their auxiliary classifiers in training.
    own = {"aux_logits": False} if name in ("inception_v3", "googlenet") else {}
    try:
        trunk = torchvision.models.get_model(name, **{"weights": None, **own, **options})
    except TypeError as error:
        raise ConfigError(
            f"torchvision's {name} takes other options than {sorted(options)}: {error}."
        ) from error
    size = options.get("image_size") or options.get("input_size") or _SIDE
    return TrunkBackbone(trunk, num_features=_remove_classifier(trunk), size=size)
