"""read_run: the hooks, seeds and other switches of an MMAction2 config as keys of a recipe."""

from tsn_tsm_plugin.migrate.mmaction2.settings import (
    ConfigDict,
    Settings,
    at,
    ignore,
    pop_list,
    pop_number,
    pop_typed,
    report_unconverted,
    section,
    sections,
)
from tsn_tsm_plugin.migrate.recipe import Recipe

# MMAction2's names of the metric that chooses the best checkpoint here, top-1.
_TOP1 = ("auto", "acc/top1", "top1_acc", "top1")
_EMA_HOOKS = ("EMAHook", "ExpMomentumEMAHook", "LinearMomentumEMAHook")


def read_run(settings: Settings, recipe: Recipe) -> None:
    """Read checkpoints, logging, averaging, early stopping, seeds and compilation.

    Args:
        settings: Settings of the config; converted ones are removed.
        recipe: Receives keys and notes.
    """
    hooks = section(settings, "default_hooks")
    _read_best(section(settings, "evaluation"), recipe)
    for name, owner, read in (
        ("default_hooks.checkpoint", section(hooks, "checkpoint"), _read_checkpoints),
        ("checkpoint_config", section(settings, "checkpoint_config"), _read_checkpoints),
        ("default_hooks.logger", section(hooks, "logger"), _read_logger),
        ("log_config", section(settings, "log_config"), _read_logger),
    ):
        read(owner, recipe)
        # The rest of these sections is skipped.
        unread = ("interval", "max_keep_ckpts", "save_best")
        left = ConfigDict((each, owner[each]) for each in unread if each in owner).located_as(owner)
        report_unconverted(left, recipe.notes, prefix=name)
    for hook in sections(settings, "custom_hooks"):
        _read_hook(hook, recipe)
    for name, hook in hooks.items():
        if isinstance(hook, dict) and hook.get("type") in (*_EMA_HOOKS, "EarlyStoppingHook"):
            _read_hook(hook, recipe)
            report_unconverted(hook, recipe.notes, prefix=f"default_hooks.{name}")
    for hook in sections(settings, "module_hooks"):
        _read_gpu_normalize(hook, recipe)
    _read_seed(settings, recipe)


def _read_checkpoints(owner: Settings, recipe: Recipe) -> None:
    if owner.get("by_epoch", True):
        recipe.set("TRAIN.CHECKPOINT_PERIOD", pop_typed(owner, "interval", int))
    if owner.get("max_keep_ckpts") != -1:  # All of them.
        recipe.set("TRAIN.KEEP_CHECKPOINTS", pop_typed(owner, "max_keep_ckpts", int))
    _read_best(owner, recipe)


def _read_logger(owner: Settings, recipe: Recipe) -> None:
    recipe.set("LOG_PERIOD", pop_typed(owner, "interval", int))


def _read_best(owner: Settings, recipe: Recipe) -> None:
    """Read ``save_best``; this library always keeps the best checkpoint by top-1."""
    metric = pop_typed(owner, "save_best", str)
    ignore(owner, "rule")
    if metric is not None and metric not in _TOP1:
        recipe.notes.append(
            f"changed: the best checkpoint is chosen by {metric} there; here by top-1 accuracy"
            f"{at(owner, 'save_best')}"
        )


def _read_hook(hook: Settings, recipe: Recipe) -> None:
    kind = hook.get("type")
    if kind in _EMA_HOOKS:
        recipe.set("EMA.ENABLE", True)
        recipe.set("EMA.DECAY", 1.0 - pop_number(hook, "momentum", 0.0002))
        ignore(hook, ema_type=("ExponentialMovingAverage",), begin_epoch=(0,), begin_iter=(0,))
        ignore(hook, "type", "priority", interval=(1,), strict_load=(False, True), update_buffers=(False,))
        if kind != "EMAHook" or "warm_up" in hook:
            recipe.notes.append(
                "changed: the average of the weights starts with a warm-up there; here it does not"
                f"{at(hook, 'type')}"
            )
    elif kind == "EarlyStoppingHook":
        patience = pop_typed(hook, "patience", int)
        recipe.set("TRAIN.EARLY_STOP_PATIENCE", 5 if patience is None else patience)
        ignore(hook, "type", "priority", monitor=_TOP1, rule=("greater", None), min_delta=(0, 0.0))


def _read_gpu_normalize(hook: Settings, recipe: Recipe) -> None:
    inner = section(hook, "hook") or hook
    if inner.get("type") != "GPUNormalize":
        return
    recipe.set("DATA.MEAN", pop_list(inner, "mean", int, float))
    recipe.set("DATA.STD", pop_list(inner, "std", int, float))
    ignore(inner, "type", "input_format")
    ignore(hook, "hooked_module", "hook_pos")


def _read_seed(settings: Settings, recipe: Recipe) -> None:
    randomness = section(settings, "randomness")
    seed = pop_typed(randomness, "seed", int)
    recipe.set("RNG_SEED", pop_typed(settings, "seed", int) if seed is None else seed)
    recipe.set("DETERMINISTIC", pop_typed(randomness, "deterministic", bool))
    ignore(randomness, "diff_rank_seed")
    ignore(settings, compile=(False,))
    if settings.get("compile") is True or isinstance(settings.get("compile"), dict):
        recipe.set("TRAIN.COMPILE", True)
        options = settings.pop("compile")
        if isinstance(options, dict) and options:
            recipe.notes.append(
                f"not carried over: compile = {options!r}; TRAIN.COMPILE takes torch's defaults"
                f"{at(settings, 'compile')}"
            )
