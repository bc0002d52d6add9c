"""The network of an MMAction2 config in the keys of our recipes."""

import re
from typing import Any

from tsn_tsm_plugin.migrate.mmaction2.settings import (
    Settings,
    drop,
    section,
    take,
    take_list,
    take_number,
)
from tsn_tsm_plugin.migrate.recipe import Recipe

# What the name of a file says about the ImageNet weights in it.
_IMAGENET = {
    "resnet50-11ad3fa6": "IMAGENET1K_V2",
    "resnet101-cd907fc2": "IMAGENET1K_V2",
    "mobilenet_v2-7ebf99e0": "IMAGENET1K_V2",
    "resnet50-19c8e357": "IMAGENET1K_V1",
    "resnet50-0676ba61": "IMAGENET1K_V1",
    "resnet101-63fe2227": "IMAGENET1K_V1",
    "mobilenet_v2-b0353104": "IMAGENET1K_V1",
}
# `torchvision://resnet50` is the first version, `torchvision://resnet50.imagenet1k_v2` says which.
_TORCHVISION = re.compile(r"torchvision://\w+(?:\.(\w+))?")
# Dropout and standard deviation of the classifier's first weights, where a head leaves them out.
_HEADS = {"TSNHead": (0.4, 0.01), "TSMHead": (0.8, 0.001)}


def read_model(model: Settings, test: Settings, recipe: Recipe) -> None:
    """Read network, preprocessing and how views are averaged.

    Args:
        model: ``model`` of the config; what is understood is taken out.
        test: ``test_cfg`` of the config, where the first 0.x ones say how views are averaged.
        recipe: Gets our keys and what was not carried over.
    """
    drop(model, type=("Recognizer2D",))
    preprocess = section(model, "data_preprocessor")
    for key, name in (("DATA.MEAN", "mean"), ("DATA.STD", "std")):
        recipe.set(key, take_list(preprocess, name, int, float))
    drop(preprocess, type=("ActionDataPreprocessor",), format_shape=("NCHW", "NCHW_Flow"), to_rgb=(False,))
    for owner in (preprocess, section(model, "train_cfg")):
        _read_blending(section(owner, "blending"), recipe)
    backbone, head = section(model, "backbone"), section(model, "cls_head")
    is_tsm = head.get("type") == "TSMHead" or str(backbone.get("type", "")).endswith("TSM")
    recipe.set("MODEL.ARCH", "tsm" if is_tsm else "tsn")
    _read_backbone(backbone, recipe)
    _read_head(head, recipe)
    for owner in (test, section(model, "test_cfg"), head):
        if owner.get("average_clips") in ("prob", "score"):
            average = take(owner, "average_clips", str)
            recipe.set("TEST.VIEW_AVERAGE", "probabilities" if average == "prob" else "logits")


def _read_head(head: Settings, recipe: Recipe) -> None:
    dropout, init_std = _HEADS.get(str(head.get("type")), (None, None))
    drop(head, type=tuple(_HEADS))
    recipe.set("MODEL.NUM_CLASSES", take(head, "num_classes", int))
    given = take_number(head, "dropout_ratio")
    recipe.set("MODEL.DROPOUT_RATE", dropout if given is None else given)
    given = take_number(head, "init_std")
    recipe.set("MODEL.FC_INIT_STD", init_std if given is None else given)
    recipe.set("DATA.NUM_FRAMES", take(head, "num_segments", int))
    recipe.set("DATA.MULTI_LABEL", take(head, "multi_class", bool))
    recipe.set("SOLVER.LABEL_SMOOTHING", take_number(head, "label_smooth_eps"))
    drop(
        head,
        "in_channels",
        spatial_type=("avg",),
        is_shift=(recipe.values["MODEL.ARCH"] == "tsm",),
        consensus=({"type": "AvgConsensus", "dim": 1},),
        temporal_pool=(recipe.values.get("TSM.TEMPORAL_POOL", False),),
    )
    loss = section(head, "loss_cls")
    if loss.get("type") == "BCELossWithLogits":
        recipe.set("DATA.MULTI_LABEL", True)
    drop(loss, type=("BCELossWithLogits", "CrossEntropyLoss"), loss_weight=(1.0,))


def _read_backbone(backbone: Settings, recipe: Recipe) -> None:
    if not backbone:
        return
    kind = str(backbone.get("type", ""))
    library, _, inner = kind.partition(".")
    name = _backbone_name(library, inner, backbone)
    if name:
        recipe.set("MODEL.BACKBONE", name)
        drop(backbone, "type", "depth")
    else:
        recipe.notes.append(
            f"not carried over: model.backbone.type = {kind!r}; choose MODEL.BACKBONE by hand"
        )
        drop(backbone, "type")
    _read_weights(backbone, library, inner, recipe)
    recipe.set("TSM.SHIFT_DIV", take(backbone, "shift_div", int))
    recipe.set("TSM.SHIFT_PLACE", take(backbone, "shift_place", str))
    recipe.set("TSM.TEMPORAL_POOL", take(backbone, "temporal_pool", bool))
    recipe.set("DATA.NUM_FRAMES", take(backbone, "num_segments", int))
    recipe.set("MODEL.PARTIAL_BN", take(backbone, "partial_bn", bool))
    recipe.set("MODEL.ACT_CHECKPOINT", take(backbone, "with_cp", bool))
    _read_non_local(backbone, recipe)
    _read_frozen_stages(backbone, name, recipe)
    norm = section(backbone, "norm_cfg")
    if norm.get("type") == "SyncBN":
        recipe.set("BN.NORM_TYPE", "sync_batchnorm")
    drop(norm, type=("BN", "BN2d", "SyncBN"), requires_grad=(True,))
    drop(
        backbone,
        "torchvision_pretrain",
        norm_eval=(False,),
        is_shift=(True,),
        style=("pytorch",),
        num_stages=(4,),  # All there are.
        out_indices=([3], [7]),  # The last.
        frozen_stages=(-1,),
        in_channels=(3, 10),  # Of RGB and of flow, which the dataset names too.
        feature_shape=("NHWC", "NCHW"),
    )


def _read_frozen_stages(backbone: Settings, name: str, recipe: Recipe) -> None:
    """A ResNet's stem is stage 0 there."""
    if (
        name.startswith("resn")
        and type(backbone.get("frozen_stages")) is int
        and backbone["frozen_stages"] >= 0
    ):
        stages = range(1, take(backbone, "frozen_stages", int) + 1)
        frozen = ["conv1", "bn1", *(f"layer{stage}" for stage in stages)]
        recipe.set("MODEL.FROZEN_MODULES", [f"backbone.{module}" for module in frozen])


def _backbone_name(library: str, inner: str, backbone: Settings) -> str:
    if library == "torchvision" and inner:
        return inner if inner == "densenet161" else f"torchvision/{inner}"
    if library == "timm" and inner:
        network = inner.partition(".")[0]
        return network if network == "swin_base_patch4_window7_224" else f"timm/{network}"
    if (inner or library) == "TIMMBackbone" and isinstance(backbone.get("model_name"), str):
        return f"timm/{take(backbone, 'model_name', str).partition('.')[0]}"
    name, depth = inner or library, backbone.get("depth")
    if name in ("ResNet", "ResNetTSM"):
        return f"resnet{depth}"
    if name == "ResNeXt" and (depth, backbone.get("groups"), backbone.get("width_per_group", 4)) == (
        101,
        32,
        4,
    ):
        drop(backbone, "groups", "width_per_group")
        return "resnext101_32x4d"
    if name in ("MobileNetV2", "MobileNetV2TSM"):
        return "mobilenet_v2"
    if name in ("MobileOne", "MobileOneTSM") and backbone.get("arch") == "s4":
        drop(backbone, "arch")
        return "mobileone_s4"
    return ""


def _read_weights(backbone: Settings, library: str, inner: str, recipe: Recipe) -> None:
    drop(backbone, pretrained=(False, ""))
    if backbone.get("pretrained") is True and library in ("torchvision", "timm"):
        # torchvision's `pretrained=True` is the first version; timm's is the tag in the name, or its choice.
        tag = inner.partition(".")[2] or "default"
        recipe.set("MODEL.BACKBONE_WEIGHTS", "IMAGENET1K_V1" if library == "torchvision" else tag)
        drop(backbone, "pretrained")
    weights = take(backbone, "pretrained", str)
    if isinstance(backbone.get("init_cfg"), dict):
        init = section(backbone, "init_cfg")
        weights = take(init, "checkpoint", str) or weights
        drop(init, type=("Pretrained",), prefix=("backbone", "backbone."))
    if not weights:
        return
    torchvision = _TORCHVISION.fullmatch(weights)
    found = next((ours for theirs, ours in _IMAGENET.items() if theirs in weights), "")
    if torchvision:
        recipe.set("MODEL.BACKBONE_WEIGHTS", (torchvision[1] or "imagenet1k_v1").upper())
    elif found:
        recipe.set("MODEL.BACKBONE_WEIGHTS", found)
    elif "mobilenet_v2" in weights:
        recipe.set("MODEL.BACKBONE_WEIGHTS", "IMAGENET1K_V1")
        recipe.notes.append(
            f"changed: weights {weights!r} are OpenMMLab's own; MODEL.BACKBONE_WEIGHTS is torchvision's "
            "IMAGENET1K_V1, another training of the same network; to have theirs, fetch the file and name it"
        )
    else:
        recipe.notes.append(f"not carried over: weights {weights!r}; fetch them, set MODEL.BACKBONE_WEIGHTS")


def _read_non_local(backbone: Settings, recipe: Recipe) -> None:
    places, options = take(backbone, "non_local", list, tuple), section(backbone, "non_local_cfg")
    stages = [stage if isinstance(stage, list) else [] for stage in places or []]
    if not any(any(stage) for stage in stages):
        return
    recipe.set("NONLOCAL.INSTANTIATION", take(options, "mode", str) or "embedded_gaussian")
    recipe.set(
        "NONLOCAL.LOCATION",
        [f"layer{s}.{b}" for s, stage in enumerate(stages, 1) for b, on in enumerate(stage) if on],
    )
    recipe.set("NONLOCAL.USE_SCALE", take(options, "use_scale", bool))
    recipe.set("NONLOCAL.SUB_SAMPLE", take(options, "sub_sample", bool))
    drop(options, norm_cfg=({"type": "BN3d", "requires_grad": True},))


def _read_blending(blending: Settings, recipe: Recipe) -> None:
    alphas: dict[Any, tuple[str, str]] = {
        "MixupBlending": ("MIXUP.ALPHA", "MIXUP.CUTMIX_ALPHA"),
        "CutmixBlending": ("MIXUP.CUTMIX_ALPHA", "MIXUP.ALPHA"),
    }
    if blending.get("type") not in tuple(alphas):
        return
    used, unused = alphas[take(blending, "type", str)]
    alpha = take_number(blending, "alpha")
    recipe.set("MIXUP.ENABLE", True)
    recipe.set(used, 0.2 if alpha is None else float(alpha))
    recipe.set(unused, 0.0)
    drop(blending, "num_classes")
