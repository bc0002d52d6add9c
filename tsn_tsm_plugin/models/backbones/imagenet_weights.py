"""load_imagenet_weights: ImageNet weights of a backbone, from torch.hub's cache, a download or a file."""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torchvision
from torch import Tensor, nn

from tsn_tsm_plugin.checkpoints.download import download, without_hub_retries
from tsn_tsm_plugin.checkpoints.explain_mismatch import explain_values
from tsn_tsm_plugin.checkpoints.key_renames import (
    CLASSIFIERS,
    imagenet_rename,
    is_derived,
    mmaction2_rename,
)
from tsn_tsm_plugin.checkpoints.read_checkpoint import read_checkpoint
from tsn_tsm_plugin.checkpoints.translate_keys import strip_holders
from tsn_tsm_plugin.checkpoints.zoo import zoo_hint
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)

# Maps the name of a network and the name of its weights to a state dict.
FetchWeights = Callable[[str, str], dict[str, Tensor]]


def load_imagenet_weights(backbone: nn.Module, *, name: str, weights: str, fetch: FetchWeights) -> None:
    """Fill a backbone with ImageNet weights; ``weights=""`` changes nothing.

    Args:
        backbone: A network without its classifier.
        name: Name of the backbone in the library that ``fetch`` reads, e.g. ``"resnet50"``.
        weights: Name of the weights in that library, or a state dict's path or URL, such as
            ``s3://bucket/a.pth``.
        fetch: :func:`fetch_torchvision_weights` or :func:`fetch_timm_weights`.

    Raises:
        CheckpointError: If the weights are not available, or belong to another network.
    """
    if not weights:
        return
    is_file = "://" in weights or Path(weights).is_file()
    state_dict = read_checkpoint(weights).state_dict if is_file else fetch(name, weights)
    source = weights if is_file else f"{name} {weights}"
    load_backbone_state_dict(backbone, state_dict, source=source)
    logger.info(f"Backbone weights: {len(state_dict)} tensors from {source}.")


def fetch_torchvision_weights(name: str, weights: str) -> dict[str, Tensor]:
    """Return a torchvision state dict from the local cache, or download the file into the cache.

    Raises:
        CheckpointError: If torchvision has no such weights, or the file is neither cached nor reachable.
    """
    known = torchvision.models.get_model_weights(name).__members__
    if weights not in known:
        raise CheckpointError(
            f"Backbone weights must be a file or one of {sorted(known)} for {name}, got {weights!r}."
            + zoo_hint(weights)
        )
    url = known[weights].url
    digits = re.search(r"-([0-9a-f]{8,})\.", url)
    return read_checkpoint(download(url, sha256=digits[1] if digits else "")).state_dict


def fetch_timm_weights(name: str, tag: str) -> dict[str, Tensor]:
    """Return timm's state dict of that tag, without a classifier, from the local cache or the network.

    Args:
        name: Name of the network in timm.
        tag: Tag such as ``"fb_in1k"``, also as ``"NAME.fb_in1k"``; ``"default"`` is timm's choice.

    Raises:
        CheckpointError: If timm has no such weights, or the file is neither cached nor reachable.
    """
    import timm

    tag = tag.removeprefix(f"{name}.")
    known = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    if tag != "default" and tag not in known:
        raise CheckpointError(
            f"Backbone weights must be a file, 'default' or one of {known} for timm's {name}, got {tag!r}."
            + zoo_hint(tag)
        )
    full_name = name if tag == "default" else f"{name}.{tag}"
    try:
        with without_hub_retries():
            return timm.create_model(full_name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # The hub's client fails in many ways without a network.
        origin: Any = timm.get_pretrained_cfg(full_name)
        address = f"https://huggingface.co/{origin.hf_hub_id}" if origin.hf_hub_id else origin.url
        raise CheckpointError(
            f"The {tag} weights of timm's {name} are not cached and could not be downloaded "
            f"({type(error).__name__}). Fetch the weights file of {address} on a machine with a network and "
            "give its path as weights (--backbone-weights, MODEL.BACKBONE_WEIGHTS)."
        ) from error


def load_backbone_state_dict(backbone: nn.Module, state_dict: dict[str, Tensor], *, source: str) -> None:
    """Load an image classifier's state dict into its backbone; the classifier is skipped.

    Raises:
        CheckpointError: If any other key, shape or value does not fit; nothing is loaded.
    """
    own = backbone.state_dict()
    given = {}
    for key, name in _backbone_names(state_dict).items():
        if name in own or not (name.startswith(CLASSIFIERS) or is_derived(name)):
            given[name] = state_dict[key]
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in own]
    reshaped = [key for key in given if key in own and given[key].shape != own[key].shape]
    if missing or unexpected or reshaped:
        raise CheckpointError(
            f"{source} is not an ImageNet checkpoint of this backbone ({type(backbone).__name__}): "
            f"{len(missing)} keys are missing {missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}, "
            f"{len(reshaped)} have another shape {reshaped[:3]}. Give the weights of the same network, "
            "or load_weights() for a video checkpoint."
        )
    if reason := explain_values(given, own):
        raise CheckpointError(f"{source} cannot be loaded: {reason}")
    backbone.load_state_dict(given, strict=False)


def _backbone_names(keys: Collection[str]) -> dict[str, str]:
    """Map the names of an image classifier, including MMPretrain's, to torchvision's and timm's names."""
    bare = strip_holders(keys)
    if any(name.startswith("backbone.") for name in bare.values()):
        rename = mmaction2_rename(bare.values())
        return {
            key: rename(name).removeprefix("backbone.").removeprefix("trunk.") for key, name in bare.items()
        }
    rename = imagenet_rename(bare.values())
    return {key: rename(name) for key, name in bare.items()}
