"""mmaction2_rename, mit_rename, ...: the references' parameter names as this library's names, per backbone.

This library uses torchvision's names below ``backbone.`` and timm's below ``backbone.trunk.``. Shifted
modules add ``.net``. Blocks before a non-local block add ``.block``, the non-local block ``.non_local``. The
classifier is ``head.fc``. Functions here take a name without ``module.`` and keep ``.net`` and ``.block``.
"""

import re
from collections.abc import Callable, Collection

Rename = Callable[[str], str]

# Names of the last layer of image classifiers.
CLASSIFIERS = ("fc.", "classifier.", "head.", "heads.")

# Blocks of the seven stages of MobileNetV2: MMAction2 counts them per stage, torchvision in all.
_MOBILENET_V2_DEPTHS = (1, 2, 3, 4, 3, 3, 1)
_MOBILENET_V2_LAST = 18


def _substitute(name: str, rules: Collection[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


_MMACTION2_RESNET = (
    (r"^cls_head\.fc_cls\.", "head.fc."),
    (r"\.non_local_block\.conv_out\.bn\.", ".non_local.norm."),
    (r"\.non_local_block\.(g|phi|theta|conv_out)(\.0)?\.conv\.", r".non_local.\1."),
    (r"\bconv(\d)\.conv\.", r"conv\1."),
    (r"\bconv(\d)\.bn\.", r"bn\1."),
    (r"\bdownsample\.conv\.", "downsample.0."),
    (r"\bdownsample\.bn\.", "downsample.1."),
)

_MMACTION2_MOBILEONE = (
    (r"^cls_head\.fc_cls\.", "head.fc."),
    # The reference also wraps the stem. 3 // shift_div is 0: nothing to shift in an RGB stem.
    (r"^backbone\.stage0\.(net\.)?", "backbone.trunk.stem."),
    (r"\bbranch_conv_list\.(\d)\.conv\.", r"conv_kxk.\1.conv."),
    (r"\bbranch_conv_list\.(\d)\.norm\.", r"conv_kxk.\1.bn."),
    (r"\bbranch_scale\.norm\.", "conv_scale.bn."),
    (r"\bbranch_scale\.conv\.", "conv_scale.conv."),
    (r"\bbranch_norm\.", "identity."),
    (r"\bbranch_reparam\.", "reparam_conv."),
    (r"\bse\.conv(\d)\.conv\.", r"attn.fc\1."),
)


def mmaction2_rename(keys: Collection[str]) -> Rename:
    """Return the renaming for a state dict of MMAction2 with these names."""
    if any(key.startswith("backbone.stage0.") for key in keys):
        return _mmaction2_mobileone
    if any(key.startswith("backbone.conv2.conv.") for key in keys):
        return _mmaction2_mobilenet_v2
    if any(key.startswith("backbone.patch_embed.") for key in keys):
        return _mmaction2_swin(keys)
    return lambda name: _substitute(name, _MMACTION2_RESNET)


def _mmaction2_mobileone(name: str) -> str:
    name = _substitute(name, _MMACTION2_MOBILEONE)
    return re.sub(
        r"^backbone\.stage(\d)\.", lambda match: f"backbone.trunk.stages.{int(match[1]) - 1}.", name
    )


def _mmaction2_mobilenet_v2(name: str) -> str:
    name = re.sub(r"^cls_head\.fc_cls\.", "head.fc.", name)
    name = re.sub(r"^backbone\.conv1\.", "backbone.features.0.", name)
    name = re.sub(r"^backbone\.conv2\.", f"backbone.features.{_MOBILENET_V2_LAST}.", name)
    match = re.match(r"^backbone\.layer(\d)\.(\d)\.conv\.(\d)\.(net\.)?(conv|bn)\.(.*)$", name)
    if match is None:
        return _substitute(
            name, [(r"(features\.\d+)\.conv\.", r"\1.0."), (r"(features\.\d+)\.bn\.", r"\1.1.")]
        )
    stage, block, index, shifted, layer, rest = match.groups()
    number = 1 + sum(_MOBILENET_V2_DEPTHS[: int(stage) - 1]) + int(block)
    # Stage 1 does not expand: its block has two convolutions, the others three.
    is_projection = int(index) == (1 if number == 1 else 2)
    position = (
        str(int(index) + (layer == "bn")) if is_projection else f"{index}.{shifted or ''}{int(layer == 'bn')}"
    )
    return f"backbone.features.{number}.conv.{position}.{rest}"


def _mmaction2_swin(keys: Collection[str]) -> Rename:
    rename = _swin_rename(keys)
    return lambda name: _substitute(
        rename(name), [(r"^cls_head\.fc_cls\.", "head.fc."), (r"^backbone\.", "backbone.trunk.")]
    )


def _swin_rename(keys: Collection[str]) -> Rename:
    # Until timm 0.6 a stage ended with its downsampling, now it begins with it.
    if not any(re.search(r"\blayers\.0\.downsample\.", key) for key in keys):
        return lambda name: name
    return lambda name: re.sub(
        r"\blayers\.(\d)\.downsample\.", lambda match: f"layers.{int(match[1]) + 1}.downsample.", name
    )


def imagenet_rename(keys: Collection[str]) -> Rename:
    """Return the renaming for an ImageNet classifier of torchvision or timm, also in old files."""
    rename = _swin_rename(keys)
    # Names of layers in torchvision's DenseNet files have a dot, which PyTorch no longer allows.
    old_densenet = (r"(denselayer\d+\.(?:norm|conv))\.(\d\.)", r"\1\2")
    return lambda name: _substitute(rename(name), [old_densenet])


def is_derived(name: str) -> bool:
    """Return whether an entry follows from the network's shape, as index tables of timm's old Swin do."""
    return name.endswith((".attn.relative_position_index", ".attn_mask"))


_MIT_RESNET = (
    # A network trained without dropout keeps its own last layer.
    (r"^(base_model\.fc|new_fc)\.", "head.fc."),
    (r"^base_model\.", "backbone."),
    (r"\.nl\.(g|phi)(\.0)?\.", r".non_local.\1."),
    (r"\.nl\.theta\.", ".non_local.theta."),
    (r"\.nl\.W\.0\.", ".non_local.conv_out."),
    (r"\.nl\.W\.1\.", ".non_local.norm."),
)

# In a block of the original MobileNetV2: convolution, normalisation and activation, flat.
_MIT_MOBILENET_V2 = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}
_MIT_MOBILENET_V2_FIRST = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}


def mit_rename(keys: Collection[str]) -> Rename:
    """Return the renaming for a state dict of mit-han-lab with these names."""
    if any(key.startswith("base_model.features.") for key in keys):
        return mit_mobilenet_v2_rename(keys, prefix="base_model.")
    return lambda name: _substitute(name, _MIT_RESNET)


def mit_mobilenet_v2_rename(keys: Collection[str], *, prefix: str = "") -> Rename:
    """Return the renaming for mit-han-lab's MobileNetV2; the online network has no prefix."""
    shifted_blocks = {key.partition(".conv.0.net.")[0] for key in keys if ".conv.0.net." in key}

    def rename(name: str) -> str:
        name = re.sub(r"^(base_model\.)?(new_fc|classifier)\.", "head.fc.", name)
        match = re.match(rf"^({re.escape(prefix)}features\.(\d+))\.conv\.(\d)\.(net\.)?(.*)$", name)
        if match is None:
            return re.sub(rf"^{re.escape(prefix)}features\.", "backbone.features.", name)
        block, number, index, _, rest = match.groups()
        position = (_MIT_MOBILENET_V2_FIRST if number == "1" else _MIT_MOBILENET_V2)[index]
        if block in shifted_blocks:
            # The original shifts the convolution; here the convolution and its normalisation are one module.
            position = re.sub(r"^0\.", "0.net.", position)
        return f"backbone.features.{number}.conv.{position}.{rest}"

    return rename
