"""read_model: the network of an MMAction2 config as keys of a recipe."""

import re

from tsn_tsm_plugin.migrate.mmaction2.pipeline import read_normalization
from tsn_tsm_plugin.migrate.mmaction2.settings import (
    Settings,
    at,
    ignore,
    pop_list,
    pop_number,
    pop_typed,
    section,
)
from tsn_tsm_plugin.migrate.recipe import Recipe

# ImageNet weights by words in the name of a file.
_IMAGENET = {
    "resnet50-11ad3fa6": "IMAGENET1K_V2",
    "resnet101-cd907fc2": "IMAGENET1K_V2",
    "mobilenet_v2-7ebf99e0": "IMAGENET1K_V2",
    "resnet50-19c8e357": "IMAGENET1K_V1",
    "resnet50-0676ba61": "IMAGENET1K_V1",
    "resnet101-63fe2227": "IMAGENET1K_V1",
    "mobilenet_v2-b0353104": "IMAGENET1K_V1",
}
# `torchvision://resnet50` is the first version; `torchvision://resnet50.imagenet1k_v2` names the version.
_TORCHVISION = re.compile(r"torchvision://\w+(?:\.(\w+))?")
# Default dropout and standard deviation of the classifier's initial weights.
_HEADS = {"TSNHead": (0.4, 0.01), "TSMHead": (0.8, 0.001)}


def read_model(model: Settings, test: Settings, recipe: Recipe) -> None:
    """Read network, preprocessing and averaging of views.

    Args:
        model: ``model`` of the config; converted settings are removed.
        test: ``test_cfg`` of the config, in which early 0.x configs set the averaging of views.
        recipe: Receives keys and notes.
    """
    ignore(model, type=("Recognizer2D",))
    preprocess = section(model, "data_preprocessor")
    read_normalization(preprocess, recipe, swap="to_rgb")
    ignore(preprocess, type=("ActionDataPreprocessor",), format_shape=("NCHW", "NCHW_Flow"))
    for owner in (preprocess, section(model, "train_cfg")):
        _read_blending(section(owner, "blending"), recipe)
    backbone, head = section(model, "backbone"), section(model, "cls_head")
    is_tsm = head.get("type") == "TSMHead" or str(backbone.get("type", "")).endswith("TSM")
    recipe.set("MODEL.ARCH", "tsm" if is_tsm else "tsn")
    _read_backbone(backbone, recipe)
    _read_head(head, recipe)
    for owner in (test, section(model, "test_cfg"), head):
        if owner.get("average_clips") in ("prob", "score"):
            average = pop_typed(owner, "average_clips", str)
            recipe.set("TEST.VIEW_AVERAGE", "probabilities" if average == "prob" else "logits")


def _read_head(head: Settings, recipe: Recipe) -> None:
    dropout, init_std = _HEADS.get(str(head.get("type")), (None, None))
    ignore(head, type=tuple(_HEADS))
    recipe.set("MODEL.NUM_CLASSES", pop_typed(head, "num_classes", int))
    recipe.set("MODEL.DROPOUT_RATE", pop_number(head, "dropout_ratio", dropout))
    recipe.set("MODEL.FC_INIT_STD", pop_number(head, "init_std", init_std))
    recipe.set("DATA.NUM_FRAMES", pop_typed(head, "num_segments", int))
    recipe.set("DATA.MULTI_LABEL", pop_typed(head, "multi_class", bool))
    recipe.set("SOLVER.LABEL_SMOOTHING", pop_number(head, "label_smooth_eps"))
    pop_typed(head, "in_channels", int)  # The backbone states the same number.
    ignore(
        head,
        spatial_type=("avg",),
        is_shift=(recipe.values["MODEL.ARCH"] == "tsm",),
        consensus=({"type": "AvgConsensus", "dim": 1},),
        temporal_pool=(recipe.values.get("TSM.TEMPORAL_POOL", False),),
    )
    loss = section(head, "loss_cls")
    if loss.get("type") == "BCELossWithLogits":
        recipe.set("DATA.MULTI_LABEL", True)
    weights = pop_list(loss, "class_weight", int, float)
    if weights:
        recipe.set("MODEL.LOSS_OPTIONS", {"class_weights": [float(weight) for weight in weights]})
        recipe.notes.append(
            "changed: with class_weight, losses are divided by the sum of the weights of their labels "
            f"there, and by their number here{at(loss, 'class_weight')}"
        )
    ignore(loss, type=("BCELossWithLogits", "CrossEntropyLoss"), loss_weight=(1.0,))


def _read_backbone(backbone: Settings, recipe: Recipe) -> None:
    if not backbone:
        return
    kind = str(backbone.get("type", ""))
    library, _, inner = kind.partition(".")
    name = _backbone_name(library, inner, backbone)
    if name:
        recipe.set("MODEL.BACKBONE", name)
        ignore(backbone, "type", "depth")
    else:
        recipe.notes.append(
            f"not carried over: model.backbone.type = {kind!r}; choose MODEL.BACKBONE by hand"
            f"{at(backbone, 'type')}"
        )
        ignore(backbone, "type")
    _read_weights(backbone, library, inner, recipe)
    recipe.set("TSM.SHIFT_DIV", pop_typed(backbone, "shift_div", int))
    recipe.set("TSM.SHIFT_PLACE", pop_typed(backbone, "shift_place", str))
    recipe.set("TSM.TEMPORAL_POOL", pop_typed(backbone, "temporal_pool", bool))
    recipe.set("DATA.NUM_FRAMES", pop_typed(backbone, "num_segments", int))
    recipe.set("MODEL.PARTIAL_BN", pop_typed(backbone, "partial_bn", bool))
    recipe.set("BN.FREEZE_STATS", pop_typed(backbone, "norm_eval", bool))
    recipe.set("MODEL.ACT_CHECKPOINT", pop_typed(backbone, "with_cp", bool))
    _read_non_local(backbone, recipe)
    _read_frozen_stages(backbone, name, recipe)
    norm = section(backbone, "norm_cfg")
    if norm.get("type") == "SyncBN":
        recipe.set("BN.NORM_TYPE", "sync_batchnorm")
    ignore(norm, type=("BN", "BN2d", "SyncBN"), requires_grad=(True,))
    ignore(
        backbone,
        "torchvision_pretrain",
        is_shift=(True,),
        style=("pytorch",),
        num_stages=(4,),  # All stages.
        out_indices=([3], [7]),  # The last stage.
        frozen_stages=(-1,),
        in_channels=(3, 10),  # Normalisation of RGB and of flow; the dataset states the modality.
        feature_shape=("NHWC", "NCHW"),
    )


def _read_frozen_stages(backbone: Settings, name: str, recipe: Recipe) -> None:
    """Read the frozen stages; MMAction2 counts a ResNet's stem as stage 0."""
    last = backbone.get("frozen_stages")
    if name.startswith("resn") and type(last) is int and last >= 0:
        del backbone["frozen_stages"]
        frozen = ["conv1", "bn1", *(f"layer{stage}" for stage in range(1, last + 1))]
        recipe.set("MODEL.FROZEN_MODULES", [f"backbone.{module}" for module in frozen])


def _backbone_name(library: str, inner: str, backbone: Settings) -> str:
    if library == "torchvision" and inner:
        return inner if inner == "densenet161" else f"torchvision/{inner}"
    if library == "timm" and inner:
        network = inner.partition(".")[0]
        return network if network == "swin_base_patch4_window7_224" else f"timm/{network}"
    if (inner or library) == "TIMMBackbone" and isinstance(backbone.get("model_name"), str):
        return f"timm/{pop_typed(backbone, 'model_name', str).partition('.')[0]}"
    name, depth = inner or library, backbone.get("depth")
    if name in ("ResNet", "ResNetTSM"):
        return f"resnet{depth}"
    groups = (backbone.get("groups"), backbone.get("width_per_group", 4))
    if name == "ResNeXt" and depth == 101 and groups == (32, 4):
        ignore(backbone, "groups", "width_per_group")
        return "resnext101_32x4d"
    if name in ("MobileNetV2", "MobileNetV2TSM"):
        return "mobilenet_v2"
    if name in ("MobileOne", "MobileOneTSM") and backbone.get("arch") == "s4":
        ignore(backbone, "arch")
        return "mobileone_s4"
    return ""


def _read_weights(backbone: Settings, library: str, inner: str, recipe: Recipe) -> None:
    ignore(backbone, pretrained=(False, ""))
    if backbone.get("pretrained") is True and library in ("torchvision", "timm"):
        # `pretrained=True` is torchvision's first version, or timm's tag in the name, or timm's default.
        tag = inner.partition(".")[2] or "default"
        recipe.set("MODEL.BACKBONE_WEIGHTS", "IMAGENET1K_V1" if library == "torchvision" else tag)
        ignore(backbone, "pretrained")
    weights, place = pop_typed(backbone, "pretrained", str), at(backbone, "pretrained", "init_cfg")
    if isinstance(backbone.get("init_cfg"), dict):
        init = section(backbone, "init_cfg")
        weights = pop_typed(init, "checkpoint", str) or weights
        ignore(init, type=("Pretrained",), prefix=("backbone", "backbone."))
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
            "IMAGENET1K_V1, another training of the same network; to use OpenMMLab's, download the file "
            f"and set its path{place}"
        )
    else:
        recipe.notes.append(
            f"not carried over: weights {weights!r}; fetch them, set MODEL.BACKBONE_WEIGHTS{place}"
        )


def _read_non_local(backbone: Settings, recipe: Recipe) -> None:
    stages, options = backbone.get("non_local"), section(backbone, "non_local_cfg")
    if not isinstance(stages, list) or not all(
        isinstance(stage, list) and all(flag in (0, 1) for flag in stage) for stage in stages
    ):
        return
    del backbone["non_local"]
    if not any(map(any, stages)):
        return
    recipe.set("NONLOCAL.INSTANTIATION", pop_typed(options, "mode", str) or "embedded_gaussian")
    recipe.set(
        "NONLOCAL.LOCATION",
        [f"layer{s}.{b}" for s, stage in enumerate(stages, 1) for b, on in enumerate(stage) if on],
    )
    recipe.set("NONLOCAL.USE_SCALE", pop_typed(options, "use_scale", bool))
    recipe.set("NONLOCAL.SUB_SAMPLE", pop_typed(options, "sub_sample", bool))
    ignore(options, norm_cfg=({"type": "BN3d", "requires_grad": True},))


def _read_blending(blending: Settings, recipe: Recipe) -> None:
    kind = blending.get("type")
    if kind not in ("MixupBlending", "CutmixBlending"):
        return
    alpha = float(pop_number(blending, "alpha", 0.2))
    recipe.set("MIXUP.ENABLE", True)
    recipe.set("MIXUP.ALPHA", alpha if kind == "MixupBlending" else 0.0)
    recipe.set("MIXUP.CUTMIX_ALPHA", alpha if kind == "CutmixBlending" else 0.0)
    ignore(blending, "type")
    pop_typed(blending, "num_classes", int)
