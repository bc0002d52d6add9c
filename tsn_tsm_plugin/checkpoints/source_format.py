"""detect_format: the origin of a state dict, recognised by its parameter names."""

import re
from collections.abc import Callable, Collection

from tsn_tsm_plugin.checkpoints.key_renames import (
    Rename,
    mit_mobilenet_v2_rename,
    mit_rename,
    mmaction2_rename,
)

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
