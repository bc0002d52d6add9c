"""build_optimizer, build_loss, build_lr_schedule: components from the ``SOLVER`` node."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.config.node import plain
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.registry import LOSSES, LR_POLICIES, OPTIMIZERS
from tsn_tsm_plugin.solver.losses import Loss, balanced_weights
from tsn_tsm_plugin.solver.optimizers import timm_optimizer
from tsn_tsm_plugin.solver.param_groups import tsm_param_groups, tsn_param_groups, with_layer_decay
from tsn_tsm_plugin.solver.schedule import LrSchedule


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """Return the optimiser of ``SOLVER.OPTIMIZING_METHOD`` over the groups of ``SOLVER.PARAM_GROUPS``.

    Each group carries ``name``, ``lr_mult`` and ``decay_mult`` besides torch's own keys; its learning rate
    follows a factor-1 schedule until :class:`LrSchedule` sets it.

    Raises:
        UnknownComponentError: If the optimiser is unknown.
        ConfigError: If the optimiser does not take the options, or a layer of the model fits no group.
    """
    solver = cfg.SOLVER
    if solver.PARAM_GROUPS == "tsn":
        groups = tsn_param_groups(model, weight_decay=solver.WEIGHT_DECAY)
    else:
        groups = tsm_param_groups(
            model, weight_decay=solver.WEIGHT_DECAY, classifier_lr_mult=solver.CLASSIFIER_LR_MULT
        )
    if solver.LAYER_DECAY != 1.0:
        groups = with_layer_decay(groups, model, decay=solver.LAYER_DECAY)
    for group in groups:
        group["lr"] = scaled_base_lr(cfg) * group["lr_mult"]
    momentum = {"momentum": solver.MOMENTUM, "nesterov": solver.NESTEROV}
    preset = {"sgd": momentum, "lars": momentum, "adamw": {"betas": tuple(solver.BETAS)}}
    name, key = solver.OPTIMIZING_METHOD, "SOLVER.OPTIMIZER_OPTIONS"
    options = {**preset.get(name, {}), **plain(solver.OPTIMIZER_OPTIONS)}
    library, _, library_name = name.partition("/")
    try:
        if library == "timm" and library_name:
            return timm_optimizer(library_name, groups, **options)
        return OPTIMIZERS.create(name, groups, options=options, key=key)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key} of optimizer {name!r} do not fit: {error}.") from error


def build_loss(cfg: CfgNode, *, class_counts: Sequence[int] = ()) -> Loss:
    """Return the loss of ``MODEL.LOSS_FUNC``, by default the loss for the kind of labels.

    Args:
        cfg: The recipe.
        class_counts: Training videos of each class, for ``SOLVER.CLASS_WEIGHTS balanced``.

    Raises:
        ConfigError: If the loss does not take ``MODEL.LOSS_OPTIONS``.
    """
    name = cfg.MODEL.LOSS_FUNC or ("binary_cross_entropy" if cfg.DATA.MULTI_LABEL else "cross_entropy")
    preset: dict[str, Any] = (
        {"label_smoothing": cfg.SOLVER.LABEL_SMOOTHING} if name == "cross_entropy" else {}
    )
    if cfg.SOLVER.CLASS_WEIGHTS == "balanced":
        preset["class_weights"] = balanced_weights(class_counts)
    return LOSSES.create(
        name,
        options={**preset, **plain(cfg.MODEL.LOSS_OPTIONS)},
        key="MODEL.LOSS_OPTIONS",
        num_classes=cfg.MODEL.NUM_CLASSES,
    )


def scaled_base_lr(cfg: CfgNode) -> float:
    """Return ``SOLVER.BASE_LR``, scaled linearly with the global batch if ``SOLVER.AUTO_SCALE_LR`` is set.

    Source: Goyal et al., "Accurate, Large Minibatch SGD", arXiv:1706.02677, section 2.1.
    """
    if not cfg.SOLVER.AUTO_SCALE_LR:
        return cfg.SOLVER.BASE_LR
    return cfg.SOLVER.BASE_LR * cfg.TRAIN.BATCH_SIZE / cfg.SOLVER.BASE_BATCH_SIZE


def build_lr_schedule(cfg: CfgNode, *, steps_per_epoch: int) -> LrSchedule:
    """Return the learning-rate schedule of ``SOLVER.LR_POLICY`` with its warm-up.

    Args:
        cfg: The recipe.
        steps_per_epoch: Optimiser steps of one epoch.

    Raises:
        UnknownComponentError: If the policy is unknown.
        ConfigError: If the policy refuses its options, such as steps and factors of different lengths.
    """
    solver = cfg.SOLVER
    preset = {
        "poly": {"power": solver.POLY_POWER, "end_factor": solver.COSINE_END_LR},
        "cosine": {"end_factor": solver.COSINE_END_LR},
        "steps_with_relative_lrs": {"steps": list(solver.STEPS), "relative_lrs": list(solver.LRS)},
    }.get(solver.LR_POLICY, {})
    decay = LR_POLICIES.create(
        solver.LR_POLICY,
        options={**preset, **plain(solver.LR_POLICY_OPTIONS)},
        key="SOLVER.LR_POLICY_OPTIONS",
        num_epochs=solver.MAX_EPOCH,
    )
    return LrSchedule(
        scaled_base_lr(cfg),
        decay=decay,
        num_epochs=solver.MAX_EPOCH,
        steps_per_epoch=steps_per_epoch,
        per_step=solver.LR_PER_STEP,
        warmup_epochs=solver.WARMUP_EPOCHS,
        warmup_start_factor=solver.WARMUP_START_FACTOR,
        decay_after_warmup=solver.COSINE_AFTER_WARMUP and solver.LR_POLICY != "steps_with_relative_lrs",
    )
