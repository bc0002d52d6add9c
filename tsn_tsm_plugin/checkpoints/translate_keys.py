"""Translation, translate_checkpoint, fit_names: the tensors of a checkpoint under the names of a model."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from tsn_tsm_plugin.checkpoints.key_renames import CLASSIFIERS, imagenet_rename, is_derived
from tsn_tsm_plugin.checkpoints.read_checkpoint import Checkpoint
from tsn_tsm_plugin.checkpoints.source_format import (
    IMAGENET,
    MIT_ONLINE,
    MMACTION2,
    detect_format,
    is_pytorchvideo,
    pytorchvideo_name,
    strip_inner_holders,
    translate,
    without_wrappers,
)
from tsn_tsm_plugin.errors import CheckpointError

_HEAD = "head."
_PYTORCHVIDEO_HEAD = "blocks.5."


@dataclass(frozen=True)
class Translation:
    """Tensors of a checkpoint under translated names.

    Attributes:
        format: One of the formats of :mod:`~tsn_tsm_plugin.checkpoints.source_format`.
        version: ``"0.x"`` or ``"1.x"`` of MMAction2 if the file states it, otherwise empty.
        tensors: Tensors by name.
        unexpected: Entries of the file that have no place in the model.
        derived: Entries of the file that are computed, or were folded into others.
    """

    format: str
    version: str = ""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    derived: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.format} {self.version}".rstrip()

    def without_head(self) -> "Translation":
        """Drop the classifier."""
        head = [name for name in self.tensors if is_head(name)]
        tensors = {name: value for name, value in self.tensors.items() if name not in head}
        return replace(self, tensors=tensors, unexpected=[*self.unexpected, *head])


def is_head(name: str) -> bool:
    """Return whether a parameter belongs to the classifier, here or in PyTorchVideo's network."""
    return name.startswith((_HEAD, _PYTORCHVIDEO_HEAD))


def translate_checkpoint(checkpoint: Checkpoint) -> Translation:
    """Rename the tensors of a checkpoint to this library's names.

    Raises:
        CheckpointError: If two entries of the file get the same name.
    """
    source_format = detect_format(checkpoint.state_dict)
    state_dict = {key: value for key, value in checkpoint.state_dict.items() if not is_derived(key)}
    try:
        own_names = translate(state_dict, source_format=source_format)
    except ValueError as error:
        source = checkpoint.path or "The given state dict"
        raise CheckpointError(f"{source} ({source_format}) is ambiguous: {error}") from error
    tensors, folded = _fold_output_bias({own: state_dict[key] for key, own in own_names.items()})
    return Translation(
        format=source_format,
        version=_version(checkpoint.metadata) if source_format == MMACTION2 else "",
        tensors=tensors,
        unexpected=[key for key in state_dict if key not in own_names],
        derived=[*(key for key in checkpoint.state_dict if key not in state_dict), *folded],
    )


def _version(metadata: Mapping[str, object]) -> str:
    meta = metadata.get("meta")
    if not isinstance(meta, Mapping):
        return ""
    if "mmengine_version" in meta:
        return "1.x"
    return "0.x" if "mmaction_version" in meta or "mmcv_version" in meta else ""


def _fold_output_bias(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Fold the bias of mit-han-lab's non-local output into the running mean behind it: the same scores."""
    tensors = dict(tensors)
    biases = [name for name in tensors if name.endswith(".non_local.conv_out.bias")]
    for name in biases:
        mean = name.replace(".conv_out.bias", ".norm.running_mean")
        if mean in tensors:
            tensors[mean] = tensors[mean] - tensors.pop(name)
    return tensors, [name for name in biases if name not in tensors]


def fit_names(translation: Translation, target: Mapping[str, Tensor], *, tune: bool = False) -> Translation:
    """Rename the tensors of a translated checkpoint to the names of a model.

    Names of ImageNet classifiers and of the online MobileNetV2 do not show which layers are shifted: use the
    sites of the model. Names of PyTorchVideo's own networks are derived from this library's names.

    Args:
        translation: Tensors under this library's names.
        target: State dict of the model.
        tune: Start a TSM from a TSN, whose names do not show shifted layers either.
    """
    if is_pytorchvideo(target) and not is_pytorchvideo(translation.tensors):
        tensors = translation.tensors
        if translation.format == IMAGENET:
            tensors = {f"backbone.{name}": value for name, value in tensors.items()}
        tensors = {pytorchvideo_name(name): value for name, value in tensors.items()}
        translation = replace(translation, tensors=tensors)
    elif translation.format == IMAGENET:
        translation = _with_backbone_prefix(translation, target)
    is_tsn = not any(".net." in name for name in translation.tensors)
    if translation.format in (IMAGENET, MIT_ONLINE) or (tune and is_tsn):
        translation = _with_wrappers(translation, target)
    # A part of the model may be compiled or parallel too.
    held = {strip_inner_holders(name): name for name in target}
    tensors = {held.get(name, name): value for name, value in translation.tensors.items()}
    return replace(translation, tensors={n: _as_3d(value, target.get(n)) for n, value in tensors.items()})


def _with_backbone_prefix(translation: Translation, target: Mapping[str, Tensor]) -> Translation:
    bare_target = {without_wrappers(name) for name in target}
    rename = imagenet_rename(translation.tensors)
    renamed = {rename(name): value for name, value in translation.tensors.items()}
    prefix = max(
        ("backbone.", "backbone.trunk."),
        key=lambda candidate: sum(without_wrappers(candidate + name) in bare_target for name in renamed),
    )
    return replace(translation, tensors={prefix + name: value for name, value in renamed.items()})


def _with_wrappers(translation: Translation, target: Mapping[str, Tensor]) -> Translation:
    wrapped = {without_wrappers(name): name for name in target}
    tensors = {wrapped.get(without_wrappers(name), name): v for name, v in translation.tensors.items()}
    classifier = {}
    if translation.format == IMAGENET:
        bare = {name: name.removeprefix("backbone.").removeprefix("trunk.") for name in tensors}
        classifier = {n: b for n, b in bare.items() if n not in target and b.startswith(CLASSIFIERS)}
    return replace(
        translation,
        tensors={name: value for name, value in tensors.items() if name not in classifier},
        unexpected=[*translation.unexpected, *classifier.values()],
    )


def _as_3d(value: Tensor, wanted: Tensor | None) -> Tensor:
    """Add the time axis of PyTorchVideo's kernels, which are one frame deep, to a 2D kernel."""
    if wanted is not None and value.ndim == 4 and wanted.ndim == 5:
        return value.unsqueeze(2)
    return value
