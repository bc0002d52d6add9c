"""The data pipelines of an MMAction2 config in the keys of our recipes."""

from typing import Any

# Steps that every pipeline has and that are done here without being asked.
_PLUMBING = {
    "Collect", "DecordDecode", "DecordInit", "FormatShape", "OpenCVDecode", "OpenCVInit", "PackActionInputs",
    "PyAVDecode", "PyAVInit", "RawFrameDecode", "ToTensor",
}  # fmt: skip
_TEST_CROPS = {"CenterCrop": 1, "ThreeCrop": 3, "TenCrop": 10}


def read_pipelines(settings: dict[str, Any], values: dict[str, Any], notes: list[str]) -> None:
    """Read the training and the test pipeline; that of validation follows from both here.

    Args:
        settings: Of the config, not changed.
        values: Gets our keys.
        notes: Gets what was not carried over.
    """
    train = settings.get("train_pipeline") or []
    # Without a flip in training, none is wanted.
    if train:
        values["DATA.RANDOM_FLIP"] = False
    for step in train:
        _read_train_step(dict(step), values, notes)
    for step in settings.get("test_pipeline") or []:
        _read_test_step(dict(step), values, notes)


def _read_train_step(step: dict[str, Any], values: dict[str, Any], notes: list[str]) -> None:
    kind = step.get("type")
    if kind in ("SampleFrames", "DenseSampleFrames"):
        values["DATA.NUM_FRAMES"] = step.get("num_clips", 1)
        values["TSN.SAMPLING"] = "dense" if kind == "DenseSampleFrames" else "uniform"
        if step.get("sample_range"):
            values["TSN.SAMPLE_RANGE"] = step["sample_range"]
        if step.get("clip_len", 1) != 1 or step.get("frame_interval", 1) != 1:
            notes.append(f"not carried over: clips of neighbouring frames in {step!r}")
    elif kind == "Resize":
        _read_resize(step, "TRAIN", values)
    elif kind == "MultiScaleCrop":
        values["AUG.CROP"] = "multi_scale"
        values["DATA.TRAIN_CROP_SIZE"] = step.get("input_size", 224)
        values["AUG.CROP_SCALES"] = [float(scale) for scale in step.get("scales", [1.0])]
        values["AUG.NUM_FIXED_CROPS"] = step.get("num_fixed_crops", 5)
    elif kind == "RandomResizedCrop":
        values["AUG.CROP"] = "random_resized"
    elif kind == "CenterCrop":
        values["AUG.CROP"], values["DATA.TRAIN_CROP_SIZE"] = "center", step.get("crop_size", 224)
    elif kind == "Flip":
        values["DATA.RANDOM_FLIP"] = step.get("flip_ratio", 0.5) > 0
        pairs = {tuple(sorted((int(a), int(b)))) for a, b in (step.get("flip_label_map") or {}).items()}
        if pairs:
            values["DATA.FLIP_LABEL_PAIRS"] = [list(pair) for pair in sorted(pairs)]
    elif kind == "Normalize":
        _read_normalize(step, values, notes)
    elif kind == "Imgaug" and step.get("transforms") == "default":
        values["AUG.AA_TYPE"] = "imgaug_default"
    elif kind not in _PLUMBING:
        notes.append(f"not carried over: training step {step!r}")


def _read_test_step(step: dict[str, Any], values: dict[str, Any], notes: list[str]) -> None:
    kind = step.get("type")
    if kind in ("SampleFrames", "DenseSampleFrames"):
        values["TEST.NUM_FRAMES"] = step.get("num_clips", 1)
        if kind == "DenseSampleFrames":
            values["TSN.TEST_SAMPLING"] = "dense"
            values["TEST.NUM_ENSEMBLE_VIEWS"] = step.get("num_sample_positions", 10)
        else:
            values["TSN.TEST_SAMPLING"] = "uniform"
            values["TEST.NUM_ENSEMBLE_VIEWS"] = 2 if step.get("twice_sample") else 1
    elif kind == "Resize":
        _read_resize(step, "TEST", values)
    elif kind in _TEST_CROPS:
        values["TEST.NUM_SPATIAL_CROPS"] = _TEST_CROPS[kind]
        values["DATA.TEST_CROP_SIZE"] = step.get("crop_size", 224)
    elif kind not in (*_PLUMBING, "Normalize") and not (kind == "Flip" and not step.get("flip_ratio")):
        notes.append(f"not carried over: test step {step!r}")


def _read_resize(step: dict[str, Any], split: str, values: dict[str, Any]) -> None:
    scale = step.get("scale")
    if not isinstance(scale, list):
        return
    if scale[0] == -1:
        values[f"DATA.{split}_SHORT_SIDE"] = scale[1]
    else:  # After the crop, to the size of the input.
        values[f"DATA.{split}_CROP_SIZE"] = scale[0]


def _read_normalize(step: dict[str, Any], values: dict[str, Any], notes: list[str]) -> None:
    for key, name in (("DATA.MEAN", "mean"), ("DATA.STD", "std")):
        if name in step:
            values[key] = [float(value) for value in step[name]]
    if step.get("to_bgr"):
        notes.append("not carried over: to_bgr; frames are RGB here")
