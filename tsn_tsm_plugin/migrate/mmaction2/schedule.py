"""read_optimizer, read_schedule: optimiser and schedule of an MMAction2 config as keys of a recipe."""

from typing import Any

from tsn_tsm_plugin.migrate.mmaction2.settings import (
    Settings,
    at,
    ignore,
    pop_list,
    pop_number,
    pop_typed,
    section,
    sections,
)
from tsn_tsm_plugin.migrate.recipe import Recipe

_PRECISIONS = {None: "fp16", "float16": "fp16", "bfloat16": "bf16"}
_METRICS = ("top_k_accuracy", "mean_class_accuracy", "mean_average_precision")
# Policies that decay to an end: ours, and the settings of the end, as a share of the rate or as a rate.
_DECAYS = {
    "poly": ("poly", "", "min_lr"),
    "PolyLR": ("poly", "", "eta_min"),
    "cosine": ("cosine", "min_lr_ratio", "min_lr"),
    "CosineAnnealing": ("cosine", "min_lr_ratio", "min_lr"),
    "CosineAnnealingLR": ("cosine", "eta_min_ratio", "eta_min"),
}
# PyTorch's defaults, for configs without these settings.
_WEIGHT_DECAY = {"AdamW": 0.01}


def read_optimizer(settings: Settings, recipe: Recipe, *, num_gpus: int) -> None:
    """Read ``optimizer``, ``optimizer_config`` (0.x), ``optim_wrapper`` (1.x) and learning-rate scaling.

    Args:
        settings: Settings of the config; converted ones are removed.
        recipe: Receives keys; its ``TRAIN.BATCH_SIZE`` of one forward pass is multiplied by the accumulated
            steps.
        num_gpus: Number of GPUs that the config was written for.
    """
    wrapper, old = section(settings, "optim_wrapper"), section(settings, "optimizer_config")
    optimizer = section(settings, "optimizer") or section(wrapper, "optimizer")
    kind = optimizer.get("type", "SGD")
    if kind in ("SGD", "AdamW", "LARS"):
        recipe.set("SOLVER.OPTIMIZING_METHOD", kind.lower())
        ignore(optimizer, "type")
    recipe.set("SOLVER.BASE_LR", pop_number(optimizer, "lr"))
    for key, name, usual in (
        ("SOLVER.MOMENTUM", "momentum", 0.0),
        ("SOLVER.WEIGHT_DECAY", "weight_decay", _WEIGHT_DECAY.get(str(kind), 0.0)),
    ):
        recipe.set(key, pop_number(optimizer, name, usual if "SOLVER.BASE_LR" in recipe.values else None))
    recipe.set("SOLVER.NESTEROV", pop_typed(optimizer, "nesterov", bool))
    recipe.set("SOLVER.BETAS", pop_list(optimizer, "betas", int, float))
    ignore(optimizer, eps=(1e-8,), dampening=(0,), amsgrad=(False,))
    _read_groups(wrapper if "constructor" in wrapper else optimizer, wrapper, recipe)
    clip = section(wrapper, "clip_grad") or section(old, "grad_clip")
    recipe.set("SOLVER.CLIP_GRAD_L2NORM", float(pop_number(clip, "max_norm", 0.0)))
    ignore(clip, norm_type=(2,), type=("norm",))
    _read_precision(settings, wrapper, old, recipe)
    scale = section(settings, "auto_scale_lr")
    recipe.set("SOLVER.BASE_BATCH_SIZE", pop_typed(scale, "base_batch_size", int))
    recipe.set("SOLVER.AUTO_SCALE_LR", pop_typed(scale, "enable", bool))
    _read_accumulation(wrapper, old, recipe, num_gpus)


def _read_groups(owner: Settings, wrapper: Settings, recipe: Recipe) -> None:
    is_tsm = str(owner.get("constructor", "")).startswith("TSMOptim")
    recipe.set("SOLVER.PARAM_GROUPS", "tsm" if is_tsm else "tsn")
    if is_tsm:
        ignore(owner, "constructor")
        options = section(owner, "paramwise_cfg") or section(wrapper, "paramwise_cfg")
        recipe.set("SOLVER.CLASSIFIER_LR_MULT", 5.0 if pop_typed(options, "fc_lr5", bool) else 1.0)
    ignore(owner, constructor=("DefaultOptimWrapperConstructor", "DefaultOptimizerConstructor"))


def _read_precision(settings: Settings, wrapper: Settings, old: Settings, recipe: Recipe) -> None:
    ignore(wrapper, type=("OptimWrapper",))
    ignore(old, type=("OptimizerHook",))
    if wrapper.get("type") == "AmpOptimWrapper" and wrapper.get("dtype") in tuple(_PRECISIONS):
        recipe.set("TRAIN.MIXED_PRECISION", _PRECISIONS[wrapper.get("dtype")])
        ignore(wrapper, "type", "dtype", loss_scale=("dynamic",))
    if isinstance(settings.get("fp16"), dict):
        recipe.set("TRAIN.MIXED_PRECISION", "fp16")
        ignore(section(settings, "fp16"), loss_scale=("dynamic",))


def _read_accumulation(wrapper: Settings, old: Settings, recipe: Recipe, num_gpus: int) -> None:
    """Read accumulation; here a step of several forward passes is a larger batch, run in parts."""
    ignore(wrapper, accumulative_counts=(1,))
    batch = recipe.values.get("TRAIN.BATCH_SIZE")
    if batch is None:
        return
    count = pop_typed(wrapper, "accumulative_counts", int)
    if old.get("type") == "GradientCumulativeOptimizerHook":
        ignore(old, "type")
        count = pop_typed(old, "cumulative_iters", int)
    if not count:
        return
    recipe.set("TRAIN.BATCH_SIZE", batch * count)
    recipe.set("TRAIN.MAX_CLIPS_PER_FORWARD", batch // num_gpus)
    # MMAction2 scales the rate with the batch of one forward pass.
    base = recipe.values.get("SOLVER.BASE_BATCH_SIZE")
    recipe.set("SOLVER.BASE_BATCH_SIZE", None if base is None else base * count)
    recipe.notes.append(
        f"changed: gradients of {count} forward passes add up there; here a step has {batch * count} clips, "
        f"{batch // num_gpus} of each GPU at once"
        f"{at(wrapper, 'accumulative_counts') or at(old, 'cumulative_iters')}"
    )


def read_schedule(settings: Settings, recipe: Recipe, *, num_videos: int | None) -> None:
    """Read the length of the run and its learning rate over time.

    Args:
        settings: Settings of the config; converted ones are removed.
        recipe: Receives keys; its ``SOLVER.BASE_LR`` and ``TRAIN.BATCH_SIZE`` are known.
        num_videos: Videos of the training list, to convert iterations to epochs.
    """
    batch = recipe.values.get("TRAIN.BATCH_SIZE")
    per_iteration = batch / num_videos if batch and num_videos else None
    train, runner, evaluation = (section(settings, name) for name in ("train_cfg", "runner", "evaluation"))
    lengths = [
        pop_typed(settings, "total_epochs", int),
        pop_typed(runner, "max_epochs", int),
        pop_typed(train, "max_epochs", int),
    ]
    recipe.set("SOLVER.MAX_EPOCH", next((length for length in lengths if length), None))
    _read_iterations(train, runner, recipe, per_iteration)
    for interval in (pop_typed(train, "val_interval", int), pop_typed(evaluation, "interval", int)):
        recipe.set("TRAIN.EVAL_PERIOD", interval)
    ignore(runner, type=("EpochBasedRunner",))
    ignore(train, type=("EpochBasedTrainLoop",), by_epoch=(True,), val_begin=(1,))
    metrics = evaluation.get("metrics")
    if isinstance(metrics, list):
        evaluation["metrics"] = [metric for metric in metrics if metric not in _METRICS]
    ignore(evaluation, "gpu_collect", topk=([1, 5],))
    recipe.set("TRAIN.CHECKPOINT_FILE_PATH", pop_typed(settings, "load_from", str))
    _read_lr_config(section(settings, "lr_config"), recipe, per_iteration)
    for part in sections(settings, "param_scheduler"):
        _read_scheduler(part, recipe, per_iteration)


def _read_iterations(train: Settings, runner: Settings, recipe: Recipe, per_iteration: float | None) -> None:
    """Convert the length of a run in iterations; ``per_iteration`` is in epochs."""
    for loop, kind in ((train, "IterBasedTrainLoop"), (runner, "IterBasedRunner")):
        if loop.get("type") != kind and "max_iters" not in loop:
            continue
        ignore(loop, type=(kind,))
        for key, name in (("SOLVER.MAX_EPOCH", "max_iters"), ("TRAIN.EVAL_PERIOD", "val_interval")):
            count = pop_typed(loop, name, int)
            if count and per_iteration:
                recipe.set(key, max(1, round(count * per_iteration)))
            elif count:
                recipe.notes.append(
                    f"not carried over: {name} = {count} iterations; {key} is in epochs of TRAIN.BATCH_SIZE "
                    f"videos a step: give --num-videos{at(loop, name)}"
                )


def _read_lr_config(old: Settings, recipe: Recipe, per_iteration: float | None) -> None:
    if not old:
        return
    policy, by_epoch = str(old.get("policy", "step")), old.get("by_epoch", True)
    steps = old.get("step", [])
    old["step"] = [steps] if isinstance(steps, int) else steps
    if policy.lower() == "step" and by_epoch:
        _read_steps(old, "step", recipe)
        ignore(old, "policy", "by_epoch")
    elif policy in _DECAYS:
        _read_decay(old, policy, recipe)
        recipe.set("SOLVER.LR_PER_STEP", not by_epoch)
        ignore(old, "policy", "by_epoch")
    length = 1.0 if old.get("warmup_by_epoch", False) else per_iteration
    if old.get("warmup") == "linear" and length:
        recipe.set("SOLVER.WARMUP_EPOCHS", length * pop_number(old, "warmup_iters", 0))
        recipe.set("SOLVER.WARMUP_START_FACTOR", pop_number(old, "warmup_ratio", 0.1))
        ignore(old, "warmup", "warmup_by_epoch")
    elif old.get("warmup") == "linear":
        recipe.notes.append(
            f"not carried over: warm-up of {old.get('warmup_iters', 0)} iterations from a factor of "
            f"{old.get('warmup_ratio', 0.1)}; here it is in epochs, SOLVER.WARMUP_EPOCHS: give --num-videos"
            f"{at(old, 'warmup_iters', 'warmup')}"
        )
        ignore(old, "warmup", "warmup_by_epoch", "warmup_iters", "warmup_ratio")


def _read_scheduler(part: Settings, recipe: Recipe, per_iteration: float | None) -> None:
    kind, epochs = part.get("type"), recipe.values.get("SOLVER.MAX_EPOCH")
    begin, end = part.get("begin", 0), part.get("end", epochs)
    if per_iteration and part.get("by_epoch") is False and kind == "LinearLR" and isinstance(end, int):
        part["by_epoch"], end = True, end * per_iteration
    if not part.get("by_epoch", True):
        text = ", ".join(f"{name}={value!r}" for name, value in part.items() if name != "type")
        recipe.notes.append(
            f"not carried over: param_scheduler {kind} ({text}): it counts iterations, here all is in epochs "
            f"(SOLVER.WARMUP_EPOCHS, SOLVER.STEPS){at(part, 'type')}"
        )
        part.clear()
    elif (
        kind == "LinearLR"
        and begin == 0
        and isinstance(end, int | float)
        and part.get("end_factor", 1.0) == 1.0
    ):
        recipe.set("SOLVER.WARMUP_EPOCHS", float(end))
        recipe.set("SOLVER.WARMUP_START_FACTOR", pop_number(part, "start_factor", 1 / 3))
        recipe.set("SOLVER.LR_PER_STEP", pop_typed(part, "convert_to_iter_based", bool))
        ignore(part, "type", "begin", "end", "end_factor", by_epoch=(True,))
    elif kind == "MultiStepLR":
        # MMAction2 counts milestones from the beginning of the scheduler.
        begin = pop_typed(part, "begin", int) or 0
        _read_steps(part, "milestones", recipe, begin=begin)
        ignore(part, "type", "convert_to_iter_based", by_epoch=(True,), end=(epochs,))
    elif kind in ("CosineAnnealingLR", "PolyLR"):
        _read_decay(part, kind, recipe)
        recipe.set("SOLVER.LR_PER_STEP", pop_typed(part, "convert_to_iter_based", bool))
        if isinstance(begin, int) and begin and begin == recipe.values.get("SOLVER.WARMUP_EPOCHS"):
            recipe.set("SOLVER.COSINE_AFTER_WARMUP", True)
            ignore(part, "begin")
        elif begin != 0:
            begin = 0
        # A range that does not end with the run is reported.
        length = None if epochs is None else epochs - begin
        usual = {"end": (epochs,), "T_max": (length,), "total_iters": (length,)}
        ignore(part, "type", by_epoch=(True,), begin=(0,), **usual)


def _read_steps(owner: Settings, name: str, recipe: Recipe, *, begin: int = 0) -> None:
    steps, gamma = pop_list(owner, name, int), pop_number(owner, "gamma", 0.1)
    if steps is None:
        return
    recipe.set("SOLVER.LR_POLICY", "steps_with_relative_lrs")
    recipe.set("SOLVER.STEPS", [0, *(begin + step for step in steps)])
    recipe.set("SOLVER.LRS", [round(gamma**power, 12) for power in range(len(steps) + 1)])


def _read_decay(owner: Settings, kind: str, recipe: Recipe) -> None:
    policy, ratio, rate = _DECAYS[kind]
    recipe.set("SOLVER.LR_POLICY", policy)
    if policy == "poly":
        recipe.set("SOLVER.POLY_POWER", float(pop_number(owner, "power", 1.0)))
    end: Any = pop_number(owner, ratio)
    base = recipe.values.get("SOLVER.BASE_LR")
    if end is None and base:
        lowest = pop_number(owner, rate)
        end = None if lowest is None else lowest / base
    recipe.set("SOLVER.COSINE_END_LR", end)
