"""detect_format, translate_checkpoint, fit_names: the origin of tensors and their names here."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from tsn_tsm_plugin.checkpoints.key_renames import (
    CLASSIFIERS,
    Rename,
    imagenet_rename,
    is_derived,
    mit_mobilenet_v2_rename,
    mit_rename,
    mmaction2_rename,
)
from tsn_tsm_plugin.checkpoints.read_checkpoint import Checkpoint
from tsn_tsm_plugin.errors import CheckpointError

OWN = "tsn_tsm_plugin"
MMACTION2 = "MMAction2"
MIT = "mit-han-lab"
MIT_ONLINE = "mit-han-lab online"
IMAGENET = "ImageNet classifier"

_RENAMES: dict[str, Callable[[Collection[str]], Rename]] = {
    MMACTION2: mmaction2_rename,
    MIT: mit_rename,
    # The names of the online MobileNetV2 do not show which layers are shifted.
    MIT_ONLINE: mit_mobilenet_v2_rename,
}
# Modules that hold the network: DataParallel, torch.compile, FSDP, activation checkpointing, Lightning, EMA.
_HOLDER = (
    r"(module|_orig_mod|_forward_module|_fsdp_wrapped_module|_checkpoint_wrapped_module|model|ema_model"
    r"|network|net)\."
)
# A module of any other name holds the network if the network's own modules follow it; timm's hybrids have a
# backbone in their patch_embed.
_NETWORK = r"(backbone|base_model|cls_head|head\.fc|new_fc)\."
_OUTER = re.compile(rf"^({_HOLDER}|(?!patch_embed)\w+\.(?=({_HOLDER})*{_NETWORK}))+")
# Beside the network: MMCV's copies of averaged weights, and parts of MMAction2's and PyTorch's wrappers.
_BESIDE = re.compile(r"(^|\.)(ema_[^.]+$|n_averaged$|data_preprocessor\.|loss_cls\.)")
_INNER = re.compile(r"(?<=\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# DataParallel around one part of the network. Deeper, `module` is a name of timm's: iFormer's.
_INNER_MODULE = re.compile(r"^((?:backbone|base_model|cls_head|head)\.)module\.")
_WRAPPER = re.compile(r"\.(net|block)(?=\.)")


def strip_holders(keys: Collection[str]) -> dict[str, str]:
    """Return every name without the modules that hold the network, such as ``module.`` and ``_orig_mod.``.

    If most names have such a prefix, skip the others, such as names of a loss or a counter. Averaged weights
    replace the trained ones.
    """
    keys = [key for key in keys if not _BESIDE.search(key)]
    held = [key for key in keys if _OUTER.match(key)]
    averaged = [key for key in held if "ema_model." in key]
    kept = averaged or (held if 2 * len(held) > len(keys) else keys)
    return {key: strip_inner_holders(_OUTER.sub("", key)) for key in kept}


def strip_inner_holders(name: str) -> str:
    """Return a name without the modules that hold a part of the network, as in ``backbone.module.``."""
    return _INNER_MODULE.sub(r"\1", _INNER.sub("", name))


def detect_format(keys: Collection[str]) -> str:
    """Return the format of a state dict, recognised by its names; by default an ImageNet classifier."""
    keys = list(strip_holders(keys).values())

    def has(*prefixes: str) -> bool:
        return any(key.startswith(prefixes) for key in keys)

    if has("cls_head."):
        return MMACTION2
    if has("base_model."):
        return MIT
    if has("backbone.") or is_pytorchvideo(keys):
        return OWN
    if has("features.1.conv.3.") and has("classifier.weight"):
        return MIT_ONLINE
    return IMAGENET


def is_pytorchvideo(keys: Collection[str]) -> bool:
    """Return whether the names belong to a network of ``create_resnet``."""
    return any(key.startswith("blocks.1.res_blocks.") for key in keys)


def translate(keys: Collection[str], *, source_format: str) -> dict[str, str]:
    """Map the names of a state dict of that format to this library's names; skip names beside the network.

    Raises:
        ValueError: If two names of the file get the same name.
    """
    bare = strip_holders(keys)
    rename = _RENAMES[source_format](bare.values()) if source_format in _RENAMES else str
    own_names = {key: rename(name) for key, name in bare.items()}
    taken: dict[str, str] = {}
    for key, own_name in own_names.items():
        if own_name in taken:
            raise ValueError(f"{taken[own_name]} and {key} both mean {own_name}.")
        taken[own_name] = key
    return own_names


def without_wrappers(own_name: str) -> str:
    """Drop every ``.net`` and ``.block`` of a name: the parameter's name in the bare 2D network."""
    return _WRAPPER.sub("", own_name)


def pytorchvideo_name(own_name: str) -> str:
    """Return the name that a TSN or TSM ResNet parameter has in a network of ``create_resnet``.

    ``backbone.layer1.0.conv1.net.weight`` becomes ``blocks.1.res_blocks.0.branch2.conv_a.net.weight``.
    """
    if own_name.startswith("head."):
        return "blocks.5." + own_name.removeprefix("head.")
    name = own_name.removeprefix("backbone.")
    name = re.sub(r"^conv1\.", "blocks.0.conv.", name)
    name = re.sub(r"^bn1\.", "blocks.0.norm.", name)
    name = re.sub(r"^layer(\d)\.(\d+)\.", r"blocks.\1.res_blocks.\2.", name)
    name = name.replace(".downsample.0.", ".branch1_conv.").replace(".downsample.1.", ".branch1_norm.")
    for number, letter in ("1", "a"), ("2", "b"), ("3", "c"):
        name = name.replace(f".conv{number}.", f".branch2.conv_{letter}.")
        name = name.replace(f".bn{number}.", f".branch2.norm_{letter}.")
    return name


@dataclass(frozen=True)
class Translation:
    """Tensors of a checkpoint under translated names.

    Attributes:
        format: Result of :func:`detect_format`.
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
    return name.startswith(("head.", "blocks.5."))


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
