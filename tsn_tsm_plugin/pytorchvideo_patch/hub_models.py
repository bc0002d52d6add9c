"""HUB_MODELS and create_hub_model: TSN and TSM in ``pytorchvideo.models.hub``, by its keywords."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.registry import load_target, nearest_or_known

_METHODS = {"tsn": "tsn_tsm_plugin.models:create_tsn", "tsm": "tsn_tsm_plugin.models:create_tsm"}
_BACKBONES = [
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    "resnext101_32x4d",
    "densenet161",
    "mobilenet_v2",
    "mobileone_s4",
    "swin_base_patch4_window7_224",
]

HUB_MODELS = {
    # PyTorchVideo's names of ResNets are short: r50.
    **{
        f"{method}_{backbone.replace('resnet', 'r')}": (method, backbone)
        for method in _METHODS
        for backbone in _BACKBONES
    },
    **{method: (method, "") for method in _METHODS},
}
"""Name in ``pytorchvideo.models.hub`` to method and backbone; ``tsn`` and ``tsm`` take ``backbone=``."""

# Maps PyTorchVideo's keywords to this plugin's.
_HOST_KEYWORDS = {
    "model_num_class": "num_classes",
    "input_clip_length": "num_segments",
    "input_channel": "in_channels",
    "input_channels": "in_channels",
}
_LOAD_WEIGHTS = "tsn_tsm_plugin.models.load_weights:load_weights"
_WEIGHTS_SUFFIXES = (".pt", ".pth", ".pyth", ".safetensors")
_IMAGENET = {
    ("tsn", "resnet50"): "IMAGENET1K_V2",
    ("tsn", "swin_base_patch4_window7_224"): "default",
    ("tsm", "swin_base_patch4_window7_224"): "default",
    ("tsn", "mobileone_s4"): "default",
    ("tsm", "mobileone_s4"): "default",
}


def create_hub_model(name: str, _host: None = None) -> Callable[..., Any]:
    """Return the function of ``pytorchvideo.models.hub`` for a name of `HUB_MODELS`."""
    method, hub_backbone = HUB_MODELS[name]

    def build(pretrained: bool | str | Path = False, progress: bool = True, **keywords: Any) -> Any:
        create = load_target(_METHODS[method])
        options = _in_our_words(name, create, keywords)
        backbone = options.setdefault("backbone", hub_backbone or "resnet50")
        if hub_backbone and backbone != hub_backbone:
            raise TypeError(
                f"{name}() has the backbone {hub_backbone!r}, got backbone={backbone!r}: "
                f"call {method}(backbone={backbone!r})."
            )
        return _with_weights(create, method, backbone, pretrained, options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = (
        f"Build {method.upper()} on {hub_backbone or 'any backbone'} in the style of PyTorchVideo's hub.\n\n"
        "Args:\n"
        "    pretrained: True for ImageNet weights of the backbone, or their name; or the file or URL of\n"
        "        a checkpoint of the whole network, or the name of a row of the zoo: 'k400_r50_8f'.\n"
        "    progress: Not used; downloads are quiet.\n"
        "    keywords: PyTorchVideo's model_num_class, input_clip_length, dropout_rate and head, or the\n"
        f"        keywords of {_METHODS[method].replace(':', '.')}, such as num_classes and num_segments.\n"
    )
    return build


def _in_our_words(name: str, create: Callable[..., Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Translate PyTorchVideo's keywords; refuse keywords that a 2D network does not support."""
    known = set(inspect.signature(create).parameters)
    options: dict[str, Any] = {}
    for keyword, value in keywords.items():
        ours = _HOST_KEYWORDS.get(keyword, keyword)
        if ours not in known:
            hint = nearest_or_known(keyword, sorted(known | set(_HOST_KEYWORDS)))
            raise TypeError(f"{name}() has no keyword {keyword!r}; {hint}.")
        if options.get(ours, value) != value:
            raise TypeError(f"{name}() got two values for {ours}: {options[ours]!r} and {keyword}={value!r}.")
        options[ours] = value
    return options


def _with_weights(
    create: Callable[..., Any],
    method: str,
    backbone: str,
    pretrained: bool | str | Path,
    options: dict[str, Any],
) -> Any:
    if not pretrained:
        return create(**options)
    if options.get("weights"):
        raise TypeError(f"give pretrained={pretrained!r} or weights={options['weights']!r}, not both.")
    if _is_file(pretrained):
        model = create(**options)
        load_target(_LOAD_WEIGHTS)(model, str(pretrained))
        return model
    if pretrained is True:
        is_timm = backbone.startswith("timm/")
        pretrained = "default" if is_timm else _IMAGENET.get((method, backbone), "IMAGENET1K_V1")
    return create(**options | {"weights": str(pretrained)})


def _is_file(pretrained: bool | str | Path) -> bool:
    """Return whether the text is a checkpoint's path; a missing file is recognised by its suffix."""
    text = str(pretrained)
    return (
        isinstance(pretrained, Path)
        or "://" in text
        or text.endswith(_WEIGHTS_SUFFIXES)
        or Path(text).is_file()
    )
