"""From the settings of an MMAction2 config to a recipe of ours, saying what is left out.

Read are 0.x and 1.x configs of TSN and TSM. Everything that is understood is taken out of the settings; what
is then left was not carried over.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from tsn_tsm_plugin.config.mmaction_pipeline import read_pipelines

# What a run looks like, and where and how it runs: not part of a recipe here.
_OF_THE_RUN = {
    "checkpoint_config", "cudnn_benchmark", "custom_hooks", "default_hooks", "default_scope", "dist_params",
    "env_cfg", "file_client_args", "find_unused_parameters", "gpu_ids", "launcher", "log_config", "log_level",
    "log_processor", "mp_start_method", "omnisource", "opencv_num_threads", "resume", "resume_from",
    "test_cfg", "test_evaluator", "val_cfg", "val_evaluator", "vis_backends", "visualizer", "work_dir",
    "workflow",
}  # fmt: skip
# Helpers that the config has used already.
_HELPERS = {
    "dataset_type", "img_norm_cfg", "preprocess_cfg", "mc_cfg", "clip_len", "split", "base_lr",
}  # fmt: skip
_IMAGENET = {
    "torchvision://resnet50": "IMAGENET1K_V1",
    "torchvision://resnet101": "IMAGENET1K_V1",
    "resnet50-11ad3fa6": "IMAGENET1K_V2",
    "resnet101-cd907fc2": "IMAGENET1K_V2",
    "resnet50-19c8e357": "IMAGENET1K_V1",
    "resnet50-0676ba61": "IMAGENET1K_V1",
    "resnet101-63fe2227": "IMAGENET1K_V1",
    "mobilenet_v2": "IMAGENET1K_V1",
}


@dataclass
class Recipe:
    """A recipe in the making.

    Attributes:
        values: By our dotted key.
        notes: What was not carried over or had to be assumed, in sentences.
    """

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def set(self, key: str, value: Any) -> None:
        """Set a key, unless there is nothing to set it to."""
        if value is not None:
            self.values[key] = value


def convert_settings(settings: dict[str, Any], *, num_gpus: int = 8, helpers: Collection[str] = ()) -> Recipe:
    """Return the recipe of ours.

    Example:
        >>> settings = {
        ...     "model": {"backbone": {"type": "ResNetTSM", "depth": 50}, "cls_head": {"num_classes": 174}},
        ...     "load_from": None,
        ...     "fp16": {"loss_scale": 512},
        ... }
        >>> recipe = convert_settings(settings)
        >>> recipe.values["MODEL.ARCH"], recipe.values["MODEL.BACKBONE"], recipe.values["MODEL.NUM_CLASSES"]
        ('tsm', 'resnet50', 174)
        >>> recipe.notes
        ['not carried over: fp16.loss_scale = 512']

    Args:
        settings: Of the config and its bases; emptied on the way.
        num_gpus: The config holds the batch of one GPU; the batch of ours is this many times larger.
        helpers: Names whose values stand in other settings too: what is not understood is said there.
    """
    recipe = Recipe()
    _read_model(settings.pop("model", {}), recipe)
    read_pipelines(settings, recipe.values, recipe.notes)
    _read_data(settings, recipe, num_gpus)
    _read_optimizer(settings, recipe)
    _read_schedule(settings, recipe)
    for name in list(settings):
        if name in _OF_THE_RUN | _HELPERS | set(helpers) or name.endswith("_pipeline"):
            del settings[name]
    recipe.notes += [f"not carried over: {name} = {value!r}" for name, value in _leaves(settings)]
    return recipe


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _leaves(each, f"{prefix}.{name}" if prefix else str(name))
    elif value not in ({}, [], None):
        yield prefix, value


def _read_model(model: dict[str, Any], recipe: Recipe) -> None:
    model.pop("type", None)
    preprocess = model.pop("data_preprocessor", {}) or {}
    for key, name in (("DATA.MEAN", "mean"), ("DATA.STD", "std")):
        recipe.set(key, preprocess.pop(name, None))
    preprocess.pop("type", None), preprocess.pop("format_shape", None)
    blending = preprocess.pop("blending", None) or (model.get("train_cfg") or {}).pop("blending", None)
    _read_blending(blending, recipe)
    backbone, head = model.pop("backbone", {}), model.pop("cls_head", {})
    is_tsm = str(head.pop("type", "")) == "TSMHead" or str(backbone.get("type", "")).endswith("TSM")
    recipe.set("MODEL.ARCH", "tsm" if is_tsm else "tsn")
    _read_backbone(backbone, recipe)
    recipe.set("MODEL.NUM_CLASSES", head.pop("num_classes", None))
    recipe.set("MODEL.DROPOUT_RATE", head.pop("dropout_ratio", None))
    recipe.set("MODEL.FC_INIT_STD", head.pop("init_std", None))
    average = head.pop("average_clips", (model.get("test_cfg") or {}).pop("average_clips", None))
    recipe.set("TEST.VIEW_AVERAGE", {"prob": "probabilities", "score": "logits"}.get(average))
    recipe.set("DATA.NUM_FRAMES", head.pop("num_segments", None))
    for name in ("in_channels", "spatial_type", "is_shift", "consensus", "temporal_pool"):
        head.pop(name, None)
    left = {"backbone": backbone, "cls_head": head, "data_preprocessor": preprocess, **model}
    recipe.notes += [f"not carried over: model.{name} = {value!r}" for name, value in _leaves(left)]


def _read_backbone(backbone: dict[str, Any], recipe: Recipe) -> None:
    kind, depth = str(backbone.pop("type", "")), backbone.pop("depth", None)
    name = _backbone_name(kind, depth, backbone)
    if name:
        recipe.set("MODEL.BACKBONE", name)
    else:
        recipe.notes.append(
            f"not carried over: model.backbone.type = {kind!r}; choose MODEL.BACKBONE by hand"
        )
    weights = backbone.pop("pretrained", None)
    weights = (backbone.pop("init_cfg", None) or {}).get("checkpoint", weights)
    _read_imagenet(weights, recipe)
    recipe.set("TSM.SHIFT_DIV", backbone.pop("shift_div", None))
    recipe.set("TSM.SHIFT_PLACE", backbone.pop("shift_place", None))
    recipe.set("TSM.TEMPORAL_POOL", backbone.pop("temporal_pool", None))
    recipe.set("DATA.NUM_FRAMES", backbone.pop("num_segments", None))
    recipe.set("MODEL.PARTIAL_BN", backbone.pop("partial_bn", None))
    if backbone.get("num_stages") == 4:  # All there are.
        del backbone["num_stages"]
    places, options = backbone.pop("non_local", None), backbone.pop("non_local_cfg", {}) or {}
    if places and any(any(stage) for stage in places if isinstance(stage, list)):
        recipe.set("NONLOCAL.INSTANTIATION", options.get("mode", "embedded_gaussian"))
        recipe.set(
            "NONLOCAL.LOCATION",
            [f"layer{s}.{b}" for s, stage in enumerate(places, 1) for b, on in enumerate(stage or []) if on],
        )
        recipe.set("NONLOCAL.USE_SCALE", options.get("use_scale"))
        recipe.set("NONLOCAL.SUB_SAMPLE", options.get("sub_sample"))
    harmless = {"norm_eval": False, "is_shift": True, "style": "pytorch", "out_indices": None, "groups": None}
    for name, usual in harmless.items():
        if name in backbone and (usual is None or backbone[name] == usual):
            del backbone[name]


def _backbone_name(kind: str, depth: Any, backbone: dict[str, Any]) -> str:
    library, _, name = kind.rpartition(".")
    if library == "torchvision":
        return name if name == "densenet161" else f"torchvision/{name}"
    if library == "timm":
        return name if name == "swin_base_patch4_window7_224" else f"timm/{name}"
    if name in ("ResNet", "ResNetTSM"):
        return f"resnet{depth}"
    if name == "ResNeXt" and (depth, backbone.pop("groups", 0), backbone.pop("width_per_group", 4)) == (
        101,
        32,
        4,
    ):
        return "resnext101_32x4d"
    if name in ("MobileNetV2", "MobileNetV2TSM"):
        return "mobilenet_v2"
    if name in ("MobileOne", "MobileOneTSM") and backbone.pop("arch", "") == "s4":
        return "mobileone_s4"
    return ""


def _read_imagenet(weights: Any, recipe: Recipe) -> None:
    if not isinstance(weights, str):
        return
    found = next((ours for theirs, ours in _IMAGENET.items() if theirs in weights), "")
    if found:
        recipe.set("MODEL.BACKBONE_WEIGHTS", found)
    else:
        recipe.notes.append(f"not carried over: weights {weights!r}; fetch them, set MODEL.BACKBONE_WEIGHTS")


def _read_blending(blending: dict[str, Any] | None, recipe: Recipe) -> None:
    if not blending:
        return
    kind = str(blending.get("type", ""))
    if kind not in ("MixupBlending", "CutmixBlending"):
        recipe.notes.append(f"not carried over: blending = {blending!r}")
        return
    recipe.set("MIXUP.ENABLE", True)
    alpha = float(blending.get("alpha", 0.2))
    is_mixup = kind == "MixupBlending"
    recipe.set("MIXUP.ALPHA", alpha if is_mixup else 0.0)
    recipe.set("MIXUP.CUTMIX_ALPHA", 0.0 if is_mixup else alpha)


def _read_data(settings: dict[str, Any], recipe: Recipe, num_gpus: int) -> None:
    data, loader = settings.pop("data", {}), settings.pop("train_dataloader", {})
    test_loader = settings.pop("test_dataloader", {})
    settings.pop("val_dataloader", None)
    per_gpu = data.pop("videos_per_gpu", loader.pop("batch_size", None))
    if per_gpu:
        recipe.set("TRAIN.BATCH_SIZE", int(per_gpu) * num_gpus)
        recipe.notes.append(f"assumed: {num_gpus} GPUs with {per_gpu} videos each (--num-gpus)")
    recipe.set("DATA_LOADER.NUM_WORKERS", data.pop("workers_per_gpu", loader.pop("num_workers", None)))
    train = data.get("train") or loader.get("dataset") or {}
    test = data.get("test") or test_loader.get("dataset") or {}
    root = settings.pop("data_root", None)
    recipe.set("DATA.PATH_TO_DATA_DIR", root)
    val_root = settings.pop("data_root_val", None)
    for key, dataset, name in (
        ("DATA.TRAIN_LIST", train, "ann_file_train"),
        ("DATA.VAL_LIST", data.get("val") or {}, "ann_file_val"),
        ("DATA.TEST_LIST", test, "ann_file_test"),
    ):
        path = settings.pop(name, None) or dataset.get("ann_file")
        recipe.set(key, path)
    if root:
        recipe.notes.append(
            "check the paths: here lists are looked up below DATA.PATH_TO_DATA_DIR, and videos below "
            f"DATA.PATH_PREFIX in it (theirs: {root!r}, {val_root!r})"
        )
    if train.get("modality", "RGB") != "RGB":
        recipe.notes.append(
            f"not carried over: modality = {train['modality']!r}; only RGB is read here, so this recipe is "
            "another experiment"
        )
    if "Rawframe" in str(train.get("type", "")):
        recipe.set("DATA.FORMAT", "frames")
        recipe.set("DATA.FRAME_TEMPLATE", train.get("filename_tmpl", "img_{:05}.jpg"))
        recipe.set("DATA.FRAME_START_INDEX", train.get("start_index", 1))


def _read_optimizer(settings: dict[str, Any], recipe: Recipe) -> None:
    wrapper = settings.pop("optim_wrapper", {})
    optimizer = settings.pop("optimizer", {}) or wrapper.get("optimizer", {})
    owner = {**optimizer, **wrapper}
    kind = str(optimizer.get("type", "SGD"))
    if kind in ("SGD", "AdamW", "LARS"):
        recipe.set("SOLVER.OPTIMIZING_METHOD", kind.lower())
    else:
        recipe.notes.append(f"not carried over: optimizer {kind!r}")
    recipe.set("SOLVER.BASE_LR", optimizer.get("lr"))
    recipe.set("SOLVER.MOMENTUM", optimizer.get("momentum"))
    recipe.set("SOLVER.NESTEROV", optimizer.get("nesterov"))
    recipe.set("SOLVER.WEIGHT_DECAY", optimizer.get("weight_decay"))
    is_tsm = str(owner.get("constructor", "")).startswith("TSM")
    recipe.set("SOLVER.PARAM_GROUPS", "tsm" if is_tsm else "tsn")
    if is_tsm:
        recipe.set("SOLVER.FC_LR5", (owner.get("paramwise_cfg") or {}).get("fc_lr5", False))
    clip = wrapper.get("clip_grad") or (settings.pop("optimizer_config", {}) or {}).get("grad_clip") or {}
    recipe.set("SOLVER.CLIP_GRAD_L2NORM", float(clip.get("max_norm", 0.0)))
    scale = settings.pop("auto_scale_lr", {})
    recipe.set("SOLVER.BASE_BATCH_SIZE", scale.get("base_batch_size"))
    recipe.set("SOLVER.AUTO_SCALE_LR", scale.get("enable"))


def _read_schedule(settings: dict[str, Any], recipe: Recipe) -> None:
    train = settings.pop("train_cfg", {}) or {}
    epochs = settings.pop("total_epochs", None) or (settings.pop("runner", {}) or {}).get("max_epochs")
    recipe.set("SOLVER.MAX_EPOCH", epochs or train.get("max_epochs"))
    evaluation = settings.pop("evaluation", {}) or {}
    recipe.set("TRAIN.EVAL_PERIOD", evaluation.get("interval", train.get("val_interval")))
    recipe.set("TRAIN.CHECKPOINT_FILE_PATH", settings.pop("load_from", None))
    old = settings.pop("lr_config", {}) or {}
    if old:
        _read_policy(str(old.pop("policy", "step")), old.pop("step", []), old.pop("gamma", 0.1), recipe)
        if old.pop("warmup", None):
            by_epoch = old.pop("warmup_by_epoch", False)
            recipe.set("SOLVER.WARMUP_START_FACTOR", old.pop("warmup_ratio", None))
            count = old.pop("warmup_iters", 0)
            if by_epoch:
                recipe.set("SOLVER.WARMUP_EPOCHS", float(count))
            else:
                recipe.notes.append(f"not carried over: warm-up of {count} iterations; here it is in epochs")
    for part in settings.pop("param_scheduler", []) or []:
        kind = str(part.get("type", ""))
        if kind == "LinearLR":
            recipe.set("SOLVER.WARMUP_EPOCHS", float(part.get("end", 0) - part.get("begin", 0)))
            recipe.set("SOLVER.WARMUP_START_FACTOR", part.get("start_factor"))
        elif kind == "MultiStepLR":
            _read_policy("step", part.get("milestones", []), part.get("gamma", 0.1), recipe)
        elif kind == "CosineAnnealingLR":
            _read_policy("CosineAnnealing", [], 0.0, recipe)
        else:
            recipe.notes.append(f"not carried over: param_scheduler {kind!r}")


def _read_policy(policy: str, steps: Any, gamma: float, recipe: Recipe) -> None:
    if policy.lower() == "step":
        steps = [steps] if isinstance(steps, int) else list(steps)
        recipe.set("SOLVER.LR_POLICY", "steps_with_relative_lrs")
        recipe.set("SOLVER.STEPS", [0, *steps])
        recipe.set("SOLVER.LRS", [round(gamma**power, 12) for power in range(len(steps) + 1)])
    elif policy == "CosineAnnealing":
        recipe.set("SOLVER.LR_POLICY", "cosine")
    else:
        recipe.notes.append(f"not carried over: learning rate policy {policy!r}")
