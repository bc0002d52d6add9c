"""read_pipelines, read_normalization: the data pipelines of an MMAction2 config as keys of a recipe."""

from tsn_tsm_plugin.migrate.mmaction2.settings import (
    Settings,
    at,
    ignore,
    pop_list,
    pop_number,
    pop_typed,
    report_unconverted,
    sections,
)
from tsn_tsm_plugin.migrate.recipe import Recipe

# Steps of every pipeline that happen here anyway, with their settings without effect: paths of files, threads
# of decoders, and inputs of the network.
_PLUMBING: dict[str, tuple[str, ...]] = {
    "Collect": ("keys", "meta_keys"),
    "DecordDecode": ("io_backend",),
    "DecordInit": ("io_backend", "num_threads"),
    "FormatShape": (),
    "FrameSelector": ("io_backend", "decoding_backend"),
    "OpenCVDecode": (),
    "OpenCVInit": ("io_backend",),
    "PackActionInputs": ("meta_keys",),
    "PyAVDecode": ("multi_thread",),
    "PyAVInit": ("io_backend",),
    "RawFrameDecode": ("io_backend", "decoding_backend"),
    "ToTensor": ("keys",),
}
_SIZES = ("DATA.TEST_SHORT_SIDE", "DATA.TRAIN_CROP_SIZE", "DATA.MEAN", "DATA.STD")
_TEST_CROPS = {"CenterCrop": 1, "ThreeCrop": 3, "TenCrop": 10}


def read_pipelines(
    settings: Settings, train: Settings, val: Settings, test: Settings, recipe: Recipe
) -> None:
    """Read the training and the test pipeline; differences of validation are noted.

    Args:
        settings: Settings of the config; its pipelines are removed.
        train: Settings of the training dataset; its pipeline is removed.
        val: As ``train``, for validation.
        test: As ``train``, for testing.
        recipe: Receives keys and notes.
    """
    steps = _steps(settings, "train", train, recipe)
    # A training pipeline without a flip step does not flip.
    if steps:
        recipe.set("DATA.RANDOM_FLIP", False)
    for step in steps:
        _read_step(step, "TRAIN", recipe)
    tested, validated = _steps(settings, "test", test, recipe), _steps(settings, "val", val, recipe)
    if not tested and validated:
        recipe.notes.append("assumed: testing as in validation, for there is no test pipeline")
        tested, validated = validated, []
    for step in tested:
        _read_step(step, "TEST", recipe)
    if steps and not tested:
        for name in ("SHORT_SIDE", "CROP_SIZE"):
            recipe.set(f"DATA.TEST_{name}", recipe.values.get(f"DATA.TRAIN_{name}"))
        recipe.notes.append("assumed: testing at the size of training, for there is no pipeline of it")
    if validated:
        _note_validation(validated, recipe)


def _note_validation(steps: list[Settings], recipe: Recipe) -> None:
    """Note the differences from the validation of a recipe."""
    names = ("DATA.MODALITY", "DATA.NUM_FRAMES", "DATA.SAMPLER", "DATA.DENSE_WINDOW", *_SIZES)
    validation = Recipe(values={name: recipe.values[name] for name in names if name in recipe.values})
    for step in steps:
        _read_step(step, "TEST", validation)
    recipe.notes += [note.replace(": test step", ": validation step") for note in validation.notes]
    theirs, ours = validation.values, recipe.values
    is_dense = ours.get("DATA.TEST_SAMPLER", ours.get("DATA.SAMPLER", "uniform")) == "dense"
    views = "TEST.NUM_ENSEMBLE_VIEWS"
    here: dict[str, tuple[str, object]] = {
        "TEST.NUM_FRAMES": ("frames", ours.get("DATA.NUM_FRAMES")),
        "DATA.TEST_SAMPLER": ("sampling", "dense" if is_dense else "uniform"),
        views: ("views in time", ours.get(views) if is_dense else 1),
        "TEST.NUM_SPATIAL_CROPS": ("crops", 1),
        "DATA.TEST_SHORT_SIDE": ("short side", ours.get("DATA.TEST_SHORT_SIDE", 256)),
        "DATA.TEST_CROP_SIZE": ("crop", ours.get("DATA.TRAIN_CROP_SIZE", 224)),
    }
    others = [
        f"{text} {theirs[key]} (here {own})"
        for key, (text, own) in here.items()
        if theirs.get(key, own) != own
    ]
    if others:
        recipe.notes.append(
            f"changed: validation there has {', '.join(others)}; here it reads testing's frames at testing's "
            f"short side, in one crop of the training size{at(steps[0], 'type')}"
        )


def _steps(settings: Settings, split: str, dataset: Settings, recipe: Recipe) -> list[Settings]:
    """Return the dataset's own pipeline, which MMAction2 runs; without it, the top-level pipeline."""
    name = f"{split}_pipeline"
    named, own = sections(settings, name), sections(dataset, "pipeline")
    settings.pop(name, None)
    dataset.pop("pipeline", None)
    if named and own and named != own:
        recipe.notes.append(
            f"check the {split} pipeline: the dataset's own was read; {name} is another{at(settings, name)}"
        )
    return own or named


def _read_step(step: Settings, split: str, recipe: Recipe) -> None:
    kind = pop_typed(step, "type", str)
    where = f"{'training' if split == 'TRAIN' else 'test'} step"
    if kind in ("SampleFrames", "DenseSampleFrames"):
        _read_sampling(kind, step, split, recipe)
    elif kind == "Resize":
        _read_resize(step, split, recipe)
    elif kind == "Normalize":
        ignore(step, to_rgb=(True,), adjust_magnitude=(False,))
        if recipe.values.get("DATA.MODALITY") == "flow":  # Flow has no colours: without effect there.
            ignore(step, "to_bgr")
        read_normalization(step, recipe, swap="to_bgr")
    elif kind in _PLUMBING:
        ignore(
            step, *_PLUMBING[kind], input_format=("NCHW", "NCHW_Flow"), collapse=(False,), mode=("accurate",)
        )
    elif not (_read_train_step if split == "TRAIN" else _read_test_step)(kind, step, recipe):
        recipe.notes.append(f"not carried over: {where} { ({'type': kind} | step)!r}{at(step, 'type')}")
        return
    ignore(step, lazy=(False,))
    report_unconverted(step, recipe.notes, prefix=f"{where} {kind}")


def _read_sampling(kind: str, step: Settings, split: str, recipe: Recipe) -> None:
    is_dense, is_flow = kind == "DenseSampleFrames", recipe.values.get("DATA.MODALITY") == "flow"
    sampler, num_frames = "dense" if is_dense else "uniform", pop_typed(step, "num_clips", int) or 1
    if split == "TRAIN":
        recipe.set("DATA.NUM_FRAMES", num_frames)
        recipe.set("DATA.SAMPLER", sampler)
        recipe.set("DATA.DENSE_WINDOW", pop_typed(step, "sample_range", int))
        recipe.set("DATA.KEEP_TAIL_FRAMES", pop_typed(step, "keep_tail_frames", bool))
        ignore(step, twice_sample=(False,))
        if is_dense:  # Effective in testing only.
            ignore(step, "num_sample_positions")
    else:
        recipe.set("TEST.NUM_FRAMES", num_frames)
        recipe.set("DATA.TEST_SAMPLER", sampler)
        if not is_dense:
            recipe.set("TEST.NUM_ENSEMBLE_VIEWS", 2 if pop_typed(step, "twice_sample", bool) else 1)
        else:
            recipe.set("TEST.NUM_ENSEMBLE_VIEWS", pop_typed(step, "num_sample_positions", int) or 10)
            if recipe.values.get("DATA.SAMPLER") == "dense":
                ignore(step, sample_range=(recipe.values.get("DATA.DENSE_WINDOW", 64),))
            else:
                recipe.set("DATA.DENSE_WINDOW", pop_typed(step, "sample_range", int))
        ignore(step, keep_tail_frames=(False,))
    ignore(step, clip_len=(5 if is_flow else 1,), frame_interval=(1,), temporal_jitter=(False,))
    ignore(step, out_of_bound_opt=("loop",), test_mode=(split == "TEST",))


def _read_train_step(kind: str, step: Settings, recipe: Recipe) -> bool:
    if kind == "MultiScaleCrop":
        recipe.set("AUG.CROP", "multi_scale")
        recipe.set("DATA.TRAIN_CROP_SIZE", _side(step, "input_size"))
        recipe.set("AUG.CROP_SCALES", [float(s) for s in pop_list(step, "scales", int, float) or [1.0]])
        recipe.set("AUG.NUM_FIXED_CROPS", pop_typed(step, "num_fixed_crops", int) or 5)
        ignore(step, max_wh_scale_gap=(1,), random_crop=(False,))
    elif kind == "RandomResizedCrop":
        recipe.set("AUG.CROP", "random_resized")
        ignore(step, area_range=([0.08, 1.0],), aspect_ratio_range=([3 / 4, 4 / 3],))
    elif kind == "CenterCrop":
        recipe.set("AUG.CROP", "center")
        recipe.set("DATA.TRAIN_CROP_SIZE", _side(step, "crop_size"))
    elif kind == "Flip":
        _read_flip(step, recipe)
    elif kind == "ColorJitter" and "color_space_aug" not in step:
        usual = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.1}
        strengths = [float(pop_number(step, name, strength)) for name, strength in usual.items()]
        recipe.set("AUG.COLOR_JITTER", strengths)
    elif kind == "Imgaug" and step.get("transforms") == "default":
        recipe.set("AUG.AA_TYPE", "imgaug_default")
        ignore(step, "transforms")
    else:
        return False
    return True


def _read_flip(step: Settings, recipe: Recipe) -> None:
    ignore(step, direction=("horizontal",))
    share = step.get("flip_ratio", 0.5)
    recipe.set("DATA.RANDOM_FLIP", share != 0)
    ignore(step, flip_ratio=(0, 0.5))
    if "flip_ratio" in step:
        recipe.notes.append(
            f"changed: training step Flip.flip_ratio = {share!r}; half of the clips are flipped"
            f"{at(step, 'flip_ratio')}"
        )
        ignore(step, "flip_ratio")
    swaps = step.get("flip_label_map") or {}
    if isinstance(swaps, dict) and all(str(a).isdecimal() and str(b).isdecimal() for a, b in swaps.items()):
        pairs = {tuple(sorted((int(a), int(b)))) for a, b in swaps.items()}
        ignore(step, "flip_label_map")
        if pairs:
            recipe.set("DATA.FLIP_LABEL_PAIRS", [list(pair) for pair in sorted(pairs)])


def _read_test_step(kind: str, step: Settings, recipe: Recipe) -> bool:
    if kind in _TEST_CROPS:
        recipe.set("TEST.NUM_SPATIAL_CROPS", _TEST_CROPS[kind])
        recipe.set("DATA.TEST_CROP_SIZE", _side(step, "crop_size"))
        return True
    if kind == "Flip" and not step.get("flip_ratio", 0.5):
        ignore(step, "flip_ratio", "direction")
        return True
    return False


def _side(step: Settings, name: str) -> int | None:
    """Pop the side of a square, given once or twice."""
    if name not in step:
        return 224
    sides = step[name]
    if isinstance(sides, list) and len(sides) == 2 and sides[0] == sides[1]:
        step[name] = sides[0]
    side: int | None = pop_typed(step, name, int)
    return side


def _read_resize(step: Settings, split: str, recipe: Recipe) -> None:
    ignore(step, interpolation=("bilinear",))
    scale, keeps_shape = step.get("scale"), step.get("keep_ratio", True)
    if not isinstance(scale, list) or len(scale) != 2 or not all(type(side) is int for side in scale):
        return
    if scale[0] == -1 and keeps_shape is True:
        recipe.set(f"DATA.{split}_SHORT_SIDE", scale[1])
        ignore(step, "scale", "keep_ratio")
    elif keeps_shape is False and scale[0] == scale[1] and split == "TRAIN" and "AUG.CROP" in recipe.values:
        # A resize after the crop gives the size of the input.
        recipe.set("DATA.TRAIN_CROP_SIZE", scale[0])
        ignore(step, "scale", "keep_ratio")


def read_normalization(settings: Settings, recipe: Recipe, *, swap: str) -> None:
    """Pop mean, deviation and the setting that reverses RGB frames.

    MMAction2 reverses the channels before it subtracts. A recipe holds the mean in the order R, G, B.

    Example:
        >>> recipe = Recipe()
        >>> step = {"mean": [104, 117, 128], "std": [1, 1, 1], "to_bgr": True}
        >>> read_normalization(step, recipe, swap="to_bgr")
        >>> recipe.values
        {'DATA.CHANNEL_ORDER': 'bgr', 'DATA.MEAN': [128, 117, 104], 'DATA.STD': [1, 1, 1]}

    Args:
        settings: A step ``Normalize`` or a preprocessor; it keeps what differs from the recipe's values.
        recipe: Receives the keys.
        swap: Name of the setting that reverses the channels: ``to_bgr`` in 0.x, ``to_rgb`` in 1.x.
    """
    is_reversed = settings.get(swap, False)
    if not isinstance(is_reversed, bool):
        return
    found = {}
    for key, name in (("DATA.MEAN", "mean"), ("DATA.STD", "std")):
        values = settings.get(name)
        if isinstance(values, list) and all(isinstance(value, int | float) for value in values):
            found[key] = values[::-1] if is_reversed else values
    if any(recipe.values.get(key, values) != values for key, values in found.items()):
        return
    order = "bgr" if is_reversed else "rgb"
    if "DATA.MEAN" in recipe.values and recipe.values.get("DATA.CHANNEL_ORDER", "rgb") != order:
        return
    recipe.set("DATA.CHANNEL_ORDER", order if is_reversed else None)
    for key, values in found.items():
        recipe.set(key, values)
    for name in (swap, *(key.rpartition(".")[2].lower() for key in found)):
        settings.pop(name, None)
