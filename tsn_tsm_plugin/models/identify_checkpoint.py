"""Identity, identify: find the network that a checkpoint belongs to, and build it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tsn_tsm_plugin.checkpoints.explain_mismatch import MODALITIES
from tsn_tsm_plugin.checkpoints.metadata import ModelAttribute
from tsn_tsm_plugin.checkpoints.read_checkpoint import Checkpoint
from tsn_tsm_plugin.checkpoints.translate_keys import IMAGENET, translate_checkpoint, without_wrappers
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.models.backbones.create import create_backbone
from tsn_tsm_plugin.models.backbones.input_channels import RGB_CHANNELS, set_input_channels
from tsn_tsm_plugin.models.checkpoint_attributes import attributes_of_checkpoint
from tsn_tsm_plugin.models.create import create_tsm, create_tsn
from tsn_tsm_plugin.models.deploy.reparameterize import is_reparameterized, reparameterize_
from tsn_tsm_plugin.models.recognizer import TSM, TSN
from tsn_tsm_plugin.registry import BACKBONES

# Defaults of attributes that neither parameter names, configuration nor file name contain.
_ASSUMED = {"num_segments": 8, "shift_div": 8, "non_local": "embedded_gaussian"}


@dataclass(frozen=True)
class Identity:
    """The network that a checkpoint belongs to.

    Attributes:
        format: Source of the checkpoint, e.g. ``"MMAction2 1.x"``.
        attributes: Known attributes of the network, including ``backbone``, see
            :func:`~tsn_tsm_plugin.models.checkpoint_attributes.attributes_of_checkpoint`.
        assumed: Default values of attributes that the checkpoint does not contain.
    """

    format: str
    attributes: dict[str, ModelAttribute]
    assumed: dict[str, Any] = field(default_factory=dict)

    def value(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or its assumed value."""
        return self.attributes[name].value if name in self.attributes else self.assumed.get(name, default)


def identify(checkpoint: Checkpoint) -> Identity:
    """Find the TSN or TSM that a checkpoint belongs to.

    Raises:
        CheckpointError: If the checkpoint is not of a TSN or TSM with a registered backbone.
    """
    translation = translate_checkpoint(checkpoint)
    source = checkpoint.path or "The given state dict"
    if translation.format == IMAGENET:
        raise CheckpointError(
            f"{source} is no checkpoint of a TSN or TSM: its names belong to an image classifier or to "
            f"another network ({', '.join(list(translation.tensors)[:3])}, ...). ImageNet weights go into a "
            "backbone: create_tsn(weights=...)."
        )
    attributes = attributes_of_checkpoint(checkpoint, translation)
    if "backbone" not in attributes:
        backbone, in_channels = _find_backbone(translation.tensors, source)
        attributes["backbone"] = ModelAttribute(backbone, "names")
        if in_channels != RGB_CHANNELS:
            attributes["in_channels"] = ModelAttribute(in_channels, "shapes")
    needed = ["num_segments"] if attributes["method"].value == "tsn" else ["num_segments", "shift_div"]
    if "non_local_places" in attributes:
        needed.append("non_local")
    assumed = {name: _ASSUMED[name] for name in needed if name not in attributes}
    return Identity(str(translation), attributes, assumed)


def _find_backbone(tensors: Mapping[str, Tensor], source: str) -> tuple[str, int]:
    """Return the registered backbone with these shapes, and the channels of its input."""
    wanted = _bare_shapes({n: t for n, t in tensors.items() if n.startswith("backbone.")})
    for name in BACKBONES.names():
        # Build on the meta device, without memory. Third-party backbones may not support this.
        if not BACKBONES.get(name).__module__.startswith("tsn_tsm_plugin."):
            continue
        with torch.device("meta"):
            backbone = create_backbone(name)
            in_channels = _input_channels(backbone, wanted)
            if in_channels in MODALITIES:
                set_input_channels(backbone, in_channels, is_trained=False)
            if is_reparameterized(tensors):
                reparameterize_(backbone)
        if _bare_shapes({f"backbone.{n}": t for n, t in backbone.state_dict().items()}) == wanted:
            return name, in_channels
    first = next((tensor for tensor in tensors.values() if tensor.ndim == 4), None)
    if first is not None and first.shape[1] in MODALITIES and first.shape[1] != 3:
        raise CheckpointError(
            f"{source} is of a network for {MODALITIES[first.shape[1]]} ({tuple(first.shape)}): "
            "build its model for that modality and load it with load_weights()."
        )
    raise CheckpointError(
        f"{source} belongs to no registered backbone ({', '.join(BACKBONES.names())}): build its model and "
        "load it with load_weights()."
    )


def _input_channels(backbone: nn.Module, shapes: Mapping[str, torch.Size]) -> int:
    """Return the input channels of the backbone's first kernel in a file."""
    first = next((n for n, module in backbone.named_modules() if isinstance(module, nn.Conv2d)), "")
    shape = shapes.get(without_wrappers(f"backbone.{first}.weight"), ())
    return shape[1] if len(shape) == 4 else RGB_CHANNELS


def _bare_shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {
        without_wrappers(name): tensor.shape
        for name, tensor in tensors.items()
        if ".non_local." not in name and not name.endswith("num_batches_tracked")
    }


def create_identified(identity: Identity) -> TSN | TSM:
    """Build the model that a checkpoint belongs to, with random weights."""
    common = {
        "backbone": identity.value("backbone"),
        "num_classes": identity.value("num_classes"),
        "num_segments": identity.value("num_segments"),
        "in_channels": identity.value("in_channels", RGB_CHANNELS),
    }
    if identity.value("method") == "tsn":
        return create_tsn(**common)
    non_local = None
    if identity.value("non_local_places"):
        non_local = {
            "kind": identity.value("non_local"),
            "sites": tuple(identity.value("non_local_places")),
            "sub_sample": identity.value("non_local_sub_sample", True),
            "use_scale": identity.value("non_local_use_scale", False),
        }
    return create_tsm(
        **common,
        shift_div=identity.value("shift_div"),
        shift_place=identity.value("shift_place", "blockres"),
        temporal_pool=identity.value("temporal_pool", False),
        causal=identity.value("causal", False),
        non_local=non_local,
    )
