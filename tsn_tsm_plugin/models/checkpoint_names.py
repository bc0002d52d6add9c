"""Translate parameter names of the references into the names of this library's TSN and TSM.

Own names are ``backbone.<torchvision name>`` with ``.net`` at shifted sites, and ``head.fc.weight``,
``head.fc.bias``. A translation keeps every ``.net`` where it is: it tells which sites a checkpoint shifts.
"""

import re
from collections.abc import Callable, Iterable

OWN = "tsn_tsm_plugin"
MMACTION2 = "MMAction2"
MIT = "mit-han-lab"
IMAGENET = "ImageNet classifier"


def detect_format(keys: Iterable[str]) -> str:
    """Tell from its names where a state dict comes from; the others are ImageNet classifiers."""
    keys = [key.removeprefix("module.") for key in keys]
    if any(key.startswith("cls_head.") for key in keys):
        return MMACTION2
    if any(key.startswith("base_model.") for key in keys):
        return MIT
    if any(key.startswith(("head.fc.", "blocks.0.")) for key in keys) and not any(
        key.startswith("patch_embed.") for key in keys
    ):
        return OWN
    return IMAGENET


def translate(keys: Iterable[str], *, source_format: str) -> dict[str, str]:
    """Return the own name of every name of a state dict of that format.

    Two names of the file may not become one.

    Raises:
        ValueError: If they do.
    """
    rename = _RENAMERS[source_format]
    own_names: dict[str, str] = {}
    taken: dict[str, str] = {}
    for key in keys:
        own_name = rename(key.removeprefix("module."))
        if own_name in taken:
            raise ValueError(f"{taken[own_name]} and {key} both mean {own_name}.")
        taken[own_name] = key
        own_names[key] = own_name
    return own_names


def _from_mmaction2(key: str) -> str:
    """Rename MMAction2's ``convK.conv`` and ``convK.bn`` to torchvision's ``convK`` and ``bnK``."""
    key = re.sub(r"^cls_head\.fc_cls\.", "head.fc.", key)
    key = re.sub(r"\bconv(\d)\.conv\.", r"conv\1.", key)
    key = re.sub(r"\bconv(\d)\.bn\.", r"bn\1.", key)
    key = re.sub(r"\bdownsample\.conv\.", "downsample.0.", key)
    return re.sub(r"\bdownsample\.bn\.", "downsample.1.", key)


def _from_mit(key: str) -> str:
    """Rename mit-han-lab's ``base_model`` and ``new_fc``; the ResNet inside is torchvision's."""
    key = re.sub(r"^base_model\.", "backbone.", key)
    return re.sub(r"^new_fc\.", "head.fc.", key)


def _unchanged(key: str) -> str:
    return key


_RENAMERS: dict[str, Callable[[str], str]] = {
    MMACTION2: _from_mmaction2,
    MIT: _from_mit,
    OWN: _unchanged,
    IMAGENET: _unchanged,
}

_WRAPPER = re.compile(r"\.net(?=\.)")


def without_wrappers(own_name: str) -> str:
    """Drop every ``.net`` of a name: what the parameter is called in the bare 2D network."""
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
