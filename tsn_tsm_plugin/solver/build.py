"""Builds optimiser and learning-rate schedule from the ``SOLVER`` node."""

from typing import Any

import torch
from timm.optim.lars import Lars
from torch import nn
from torch.optim import Optimizer

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.solver.param_groups import tsm_param_groups, tsn_param_groups
from tsn_tsm_plugin.solver.schedule import LrSchedule, cosine, polynomial, steps_with_relative_lrs


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """Return the optimiser of ``SOLVER.OPTIMIZING_METHOD`` over the groups of ``SOLVER.PARAM_GROUPS``.

    Each group carries ``name``, ``lr_mult`` and ``decay_mult`` besides torch's own keys; its learning rate is
    that of a factor-1 schedule until :class:`LrSchedule` sets it.

    Raises:
        ConfigError: On an unknown method or grouping, or on a model whose layers the grouping does not know.
    """
    solver = cfg.SOLVER
    groups = _param_groups(solver, model)
    for group in groups:
        group["lr"] = scaled_base_lr(cfg) * group["lr_mult"]
    if solver.OPTIMIZING_METHOD == "sgd":
        return torch.optim.SGD(groups, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV)
    if solver.OPTIMIZING_METHOD == "adamw":
        return torch.optim.AdamW(groups, betas=tuple(solver.BETAS))
    if solver.OPTIMIZING_METHOD == "lars":
        return Lars(groups, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV)
    raise ConfigError(
        f"SOLVER.OPTIMIZING_METHOD must be one of sgd, adamw, lars, got {solver.OPTIMIZING_METHOD!r}."
    )


def _param_groups(solver: CfgNode, model: nn.Module) -> list[dict[str, Any]]:
    if solver.PARAM_GROUPS == "tsn":
        return tsn_param_groups(model, weight_decay=solver.WEIGHT_DECAY)
    if solver.PARAM_GROUPS == "tsm":
        return tsm_param_groups(
            model, weight_decay=solver.WEIGHT_DECAY, classifier_lr_mult=solver.CLASSIFIER_LR_MULT
        )
    raise ConfigError(f"SOLVER.PARAM_GROUPS must be one of tsn, tsm, got {solver.PARAM_GROUPS!r}.")


def scaled_base_lr(cfg: CfgNode) -> float:
    """Return ``SOLVER.BASE_LR``, scaled linearly with the global batch where ``SOLVER.AUTO_SCALE_LR`` is set.

    Source: Goyal et al., "Accurate, Large Minibatch SGD", arXiv:1706.02677, section 2.1.
    """
    if not cfg.SOLVER.AUTO_SCALE_LR:
        return cfg.SOLVER.BASE_LR
    return cfg.SOLVER.BASE_LR * cfg.TRAIN.BATCH_SIZE / cfg.SOLVER.BASE_BATCH_SIZE


def build_lr_schedule(cfg: CfgNode, *, steps_per_epoch: int) -> LrSchedule:
    """Return the learning-rate schedule of ``SOLVER.LR_POLICY`` with its warm-up.

    Args:
        cfg: Reads ``SOLVER``, and ``TRAIN.BATCH_SIZE`` where the learning rate is scaled with it.
        steps_per_epoch: Optimiser steps of one epoch.

    Raises:
        ConfigError: On an unknown policy, or on steps and factors that do not fit each other.
    """
    solver = cfg.SOLVER
    if solver.LR_POLICY == "cosine":
        decay = cosine(end_factor=solver.COSINE_END_LR)
    elif solver.LR_POLICY == "poly":
        decay = polynomial(power=solver.POLY_POWER, end_factor=solver.COSINE_END_LR)
    elif solver.LR_POLICY == "steps_with_relative_lrs":
        try:
            decay = steps_with_relative_lrs(solver.STEPS, solver.LRS, num_epochs=solver.MAX_EPOCH)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    else:
        raise ConfigError(
            "SOLVER.LR_POLICY must be one of steps_with_relative_lrs, cosine, poly, got "
            f"{solver.LR_POLICY!r}."
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
