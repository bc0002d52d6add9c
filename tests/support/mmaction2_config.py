"""render_config: write an MMAction2 config of 0.x or 1.x with given facts, for tests."""

from typing import Any

Facts = dict[str, Any]


def render_config(facts: Facts, *, is_new: bool) -> str:
    """Return the text of a config file, in the style of 1.x or 0.x.

    Args:
        facts: Facts by our keys; ``modality``, ``clip_len`` and ``pretrained`` in MMAction2's words.
        is_new: Whether the style is 1.x.
    """
    train, test = _train_steps(facts), _test_steps(facts)
    assignments: dict[str, Any] = {"model": _model(facts, is_new=is_new)}
    if "DATA.PATH_TO_DATA_DIR" in facts:
        assignments["data_root"] = facts["DATA.PATH_TO_DATA_DIR"]
    datasets: Facts = {
        split: _dataset(facts, split, steps)
        for split, steps in (("train", train), ("val", []), ("test", test))
        if f"DATA.{split.upper()}_LIST" in facts or (split == "train" and train) or (split == "test" and test)
    }
    if "DATA.FURTHER_TRAIN_LISTS" in facts:
        further = [
            datasets["train"] | {"ann_file": file, "data_prefix": folder}
            for file, folder in facts["DATA.FURTHER_TRAIN_LISTS"]
        ]
        datasets["train"] = [datasets["train"], *further]
    if "no_train" in facts:
        datasets.pop("train", None)
    assignments |= (_loaders_1x if is_new else _loaders_0x)(facts, datasets)
    assignments |= (_run_1x if is_new else _run_0x)(facts)
    if "TRAIN.CHECKPOINT_FILE_PATH" in facts:
        assignments["load_from"] = facts["TRAIN.CHECKPOINT_FILE_PATH"]
    return "".join(f"{name} = {value!r}\n" for name, value in assignments.items())


def _given(facts: Facts, **keys: str) -> dict[str, Any]:
    return {name: facts[key] for name, key in keys.items() if key in facts}


def _model(facts: Facts, *, is_new: bool) -> Facts:
    is_tsm = facts["MODEL.ARCH"] == "tsm"
    backbone = _backbone(facts, "TSM" if is_tsm else "")
    head: Facts = {"type": "TSMHead" if is_tsm else "TSNHead"}
    head |= _given(
        facts,
        num_classes="MODEL.NUM_CLASSES",
        dropout_ratio="MODEL.DROPOUT_RATE",
        init_std="MODEL.FC_INIT_STD",
    )
    if is_tsm and "DATA.NUM_FRAMES" in facts:
        backbone["num_segments"] = head["num_segments"] = facts["DATA.NUM_FRAMES"]
    model: Facts = {"type": "Recognizer2D", "backbone": backbone, "cls_head": head}
    words = {"probabilities": "prob", "logits": "score"}
    average = words.get(facts.get("TEST.VIEW_AVERAGE", ""))
    if average and is_new:
        head["average_clips"] = average
    elif average:
        model["test_cfg"] = {"average_clips": average}
    if is_new:
        model["data_preprocessor"] = {"type": "ActionDataPreprocessor", "format_shape": "NCHW"} | _given(
            facts, mean="DATA.MEAN", std="DATA.STD"
        )
    return model


def _backbone(facts: Facts, suffix: str) -> Facts:
    name: str = facts["MODEL.BACKBONE"]
    kinds: dict[str, Facts] = {
        "resnext101_32x4d": {"type": "mmcls.ResNeXt", "depth": 101, "groups": 32, "width_per_group": 4},
        "mobilenet_v2": {"type": f"MobileNetV2{suffix}"},
        "mobileone_s4": {"type": f"MobileOne{suffix}" if suffix else "mmpretrain.MobileOne", "arch": "s4"},
        "densenet161": {"type": "torchvision.densenet161"},
        "swin_base_patch4_window7_224": {"type": f"timm.{name}"},
    }
    is_resnet = name.startswith("resnet")
    backbone = {"type": f"ResNet{suffix}", "depth": int(name[6:])} if is_resnet else kinds[name]
    if facts["BN.NORM_TYPE"] == "sync_batchnorm":
        backbone["norm_cfg"] = {"type": "SyncBN", "requires_grad": True}
    if facts["MODEL.PARTIAL_BN"]:
        backbone["partial_bn"] = True
    backbone |= _given(
        facts,
        pretrained="pretrained",
        shift_div="TSM.SHIFT_DIV",
        shift_place="TSM.SHIFT_PLACE",
        temporal_pool="TSM.TEMPORAL_POOL",
    )
    if "NONLOCAL.LOCATION" in facts:
        sites = facts["NONLOCAL.LOCATION"]
        blocks = {1: 3, 2: 4, 3: 6, 4: 3}
        backbone["non_local"] = tuple(
            tuple(int(f"layer{stage}.{block}" in sites) for block in range(count))
            for stage, count in blocks.items()
        )
        backbone["non_local_cfg"] = {
            "mode": facts["NONLOCAL.INSTANTIATION"],
            "sub_sample": facts["NONLOCAL.SUB_SAMPLE"],
            "use_scale": False,
        }
    return backbone


def _train_steps(facts: Facts) -> list[Facts]:
    if "DATA.SAMPLER" not in facts:
        return []
    steps = [_sampling(facts["DATA.SAMPLER"], facts["DATA.NUM_FRAMES"], facts["clip_len"])]
    if "DATA.TRAIN_SHORT_SIDE" in facts:
        steps.append({"type": "Resize", "scale": (-1, facts["DATA.TRAIN_SHORT_SIDE"])})
    size = facts.get("DATA.TRAIN_CROP_SIZE")
    if facts.get("AUG.CROP") == "multi_scale":
        steps.append(
            {"type": "MultiScaleCrop", "input_size": size}
            | _given(facts, scales="AUG.CROP_SCALES", num_fixed_crops="AUG.NUM_FIXED_CROPS")
        )
    elif "AUG.CROP" in facts:
        steps.append({"type": "RandomResizedCrop"})
    if size:
        steps.append({"type": "Resize", "scale": (size, size), "keep_ratio": False})
    pairs = facts.get("DATA.FLIP_LABEL_PAIRS", [])
    flip: Facts = {"type": "Flip", "flip_ratio": 0.5 if facts["DATA.RANDOM_FLIP"] else 0}
    if pairs:
        flip["flip_label_map"] = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    steps.append(flip)
    if "AUG.AA_TYPE" in facts:
        steps.append({"type": "Imgaug", "transforms": "default"})
    return [*steps, *_normalize(facts)]


def _test_steps(facts: Facts) -> list[Facts]:
    if "DATA.TEST_SAMPLER" not in facts:
        return []
    views = facts["TEST.NUM_ENSEMBLE_VIEWS"]
    sampling = _sampling(facts["DATA.TEST_SAMPLER"], facts["TEST.NUM_FRAMES"], facts.get("clip_len", 1))
    is_dense = facts["DATA.TEST_SAMPLER"] == "dense"
    sampling |= {"num_sample_positions": views} if is_dense else {"twice_sample": views == 2}
    steps = [sampling]
    if "DATA.TEST_SHORT_SIDE" in facts:
        steps.append({"type": "Resize", "scale": (-1, facts["DATA.TEST_SHORT_SIDE"])})
    if "TEST.NUM_SPATIAL_CROPS" in facts:
        crop = {1: "CenterCrop", 3: "ThreeCrop", 10: "TenCrop"}[facts["TEST.NUM_SPATIAL_CROPS"]]
        steps.append({"type": crop, "crop_size": facts["DATA.TEST_CROP_SIZE"]})
    return [*steps, *_normalize(facts)]


def _sampling(sampler: str, num_frames: int, clip_len: int) -> Facts:
    kind = {"dense": "DenseSampleFrames", "uniform": "SampleFrames"}[sampler]
    return {"type": kind, "clip_len": clip_len, "frame_interval": 1, "num_clips": num_frames}


def _normalize(facts: Facts) -> list[Facts]:
    if "DATA.MEAN" not in facts:
        return []
    return [{"type": "Normalize", "mean": facts["DATA.MEAN"], "std": facts["DATA.STD"], "to_bgr": False}]


def _dataset(facts: Facts, split: str, steps: list[Facts]) -> Facts:
    dataset: Facts = {"type": "RawframeDataset" if facts["DATA.FORMAT"] == "frames" else "VideoDataset"}
    dataset |= _given(facts, ann_file=f"DATA.{split.upper()}_LIST", filename_tmpl="DATA.FRAME_TEMPLATE")
    if facts["modality"] != "RGB":
        dataset["modality"] = facts["modality"]
    if facts["DATA.MULTI_LABEL"]:
        dataset["multi_class"] = True
    if steps:
        dataset["pipeline"] = steps
    if split == "train" and "TRAIN.NUM_REPEATS" in facts:
        dataset = {"type": "RepeatDataset", "times": facts["TRAIN.NUM_REPEATS"], "dataset": dataset}
    return dataset


def _loaders_0x(facts: Facts, datasets: Facts) -> Facts:
    batch = {"videos_per_gpu": facts["TRAIN.BATCH_SIZE"] // 8} if "TRAIN.BATCH_SIZE" in facts else {}
    return {"data": batch | _given(facts, workers_per_gpu="DATA_LOADER.NUM_WORKERS") | datasets}


def _loaders_1x(facts: Facts, datasets: Facts) -> Facts:
    loaders = {f"{split}_dataloader": {"dataset": dataset} for split, dataset in datasets.items()}
    if "train" in datasets:
        loaders["train_dataloader"] |= {"batch_size": facts["TRAIN.BATCH_SIZE"] // 8} | _given(
            facts, num_workers="DATA_LOADER.NUM_WORKERS"
        )
    return loaders


def _optimizer(facts: Facts) -> Facts:
    if "SOLVER.BASE_LR" not in facts:
        return {}
    return {"type": facts["SOLVER.OPTIMIZING_METHOD"].upper()} | _given(
        facts, lr="SOLVER.BASE_LR", momentum="SOLVER.MOMENTUM", weight_decay="SOLVER.WEIGHT_DECAY"
    )


def _groups(facts: Facts, constructor: str) -> Facts:
    if facts.get("SOLVER.PARAM_GROUPS") != "tsm":
        return {}
    is_faster = facts["SOLVER.CLASSIFIER_LR_MULT"] == 5.0
    return {"constructor": constructor, "paramwise_cfg": {"fc_lr5": is_faster}}


def _run_0x(facts: Facts) -> Facts:
    run: Facts = {}
    if optimizer := _optimizer(facts):
        run["optimizer"] = optimizer | _groups(facts, "TSMOptimizerConstructor")
        norm = facts["SOLVER.CLIP_GRAD_L2NORM"]
        run["optimizer_config"] = {"grad_clip": {"max_norm": norm, "norm_type": 2} if norm else None}
    if facts["TRAIN.MIXED_PRECISION"] == "fp16":
        run["fp16"] = {"loss_scale": "dynamic"}
    if facts.get("SOLVER.LR_POLICY") == "cosine":
        run["lr_config"] = {"policy": "CosineAnnealing", "min_lr": 0}
    elif "SOLVER.STEPS" in facts:
        run["lr_config"] = {"policy": "step", "step": facts["SOLVER.STEPS"][1:]}
    if "SOLVER.MAX_EPOCH" in facts:
        run["total_epochs"] = facts["SOLVER.MAX_EPOCH"]
    run["evaluation"] = _given(facts, interval="TRAIN.EVAL_PERIOD")
    run["checkpoint_config"] = _given(facts, interval="TRAIN.CHECKPOINT_PERIOD")
    return run


def _run_1x(facts: Facts) -> Facts:
    run: Facts = {}
    if optimizer := _optimizer(facts):
        kind = "AmpOptimWrapper" if facts["TRAIN.MIXED_PRECISION"] == "fp16" else "OptimWrapper"
        run["optim_wrapper"] = {"type": kind, "optimizer": optimizer}
        run["optim_wrapper"] |= _groups(facts, "TSMOptimWrapperConstructor")
        if facts["SOLVER.CLIP_GRAD_L2NORM"]:
            run["optim_wrapper"]["clip_grad"] = {"max_norm": facts["SOLVER.CLIP_GRAD_L2NORM"], "norm_type": 2}
    epochs = facts.get("SOLVER.MAX_EPOCH")
    if epochs:
        run["train_cfg"] = {"type": "EpochBasedTrainLoop", "max_epochs": epochs}
        run["train_cfg"] |= _given(facts, val_interval="TRAIN.EVAL_PERIOD")
    schedulers: list[Facts] = []
    if "SOLVER.WARMUP_EPOCHS" in facts:
        factor = facts["SOLVER.WARMUP_START_FACTOR"]
        end = int(facts["SOLVER.WARMUP_EPOCHS"])
        schedulers.append(
            {"type": "LinearLR", "start_factor": factor, "by_epoch": True, "begin": 0, "end": end}
        )
    if "SOLVER.STEPS" in facts:
        steps = facts["SOLVER.STEPS"][1:]
        schedulers.append(
            {"type": "MultiStepLR", "begin": 0, "end": epochs, "by_epoch": True, "milestones": steps}
        )
    run["param_scheduler"] = schedulers
    run["auto_scale_lr"] = _given(
        facts, enable="SOLVER.AUTO_SCALE_LR", base_batch_size="SOLVER.BASE_BATCH_SIZE"
    )
    run["default_hooks"] = {
        "checkpoint": {"type": "CheckpointHook"} | _given(facts, interval="TRAIN.CHECKPOINT_PERIOD")
    }
    return run
