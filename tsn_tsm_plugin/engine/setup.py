"""TrainingSetup and LoopOptions: all objects of a training run, built once from a recipe."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.data.build import build_loader, class_counts, read_class_names
from tsn_tsm_plugin.engine.ddp import data_parallel, synchronize_batch_norm
from tsn_tsm_plugin.engine.device import compute_device
from tsn_tsm_plugin.engine.ema import MovingAverage
from tsn_tsm_plugin.engine.find_weights import load_initial_weights
from tsn_tsm_plugin.engine.freezing import FrozenModules, freeze_modules
from tsn_tsm_plugin.engine.optimizer_step import OptimizerStep
from tsn_tsm_plugin.engine.preflight import used_splits
from tsn_tsm_plugin.engine.score_split import SplitScorer
from tsn_tsm_plugin.engine.training_state import TrainingState
from tsn_tsm_plugin.layers.activation_checkpoint import checkpoint_activations
from tsn_tsm_plugin.layers.memory_format import to_channels_last
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.models import TSM, TSN, build_model
from tsn_tsm_plugin.ranks import Ranks
from tsn_tsm_plugin.runs.stage_data import stage_data
from tsn_tsm_plugin.solver import LrSchedule, build_loss, build_lr_schedule, build_optimizer
from tsn_tsm_plugin.solver.losses import Loss
from tsn_tsm_plugin.transforms.build import build_batch_transform, build_normalize

logger = get_logger(__name__)


@dataclass(frozen=True)
class LoopOptions:
    """Length of a run, and its actions between steps.

    Attributes:
        num_epochs: Epochs of the whole run.
        seed: Seed of dropout and mixing.
        log_period: Steps between two lines of the log, and between two readings from the device.
        checkpoint_period: Epochs between checkpoints.
        checkpoint_minutes: Minutes between checkpoints within an epoch; 0: none.
        checkpoint_steps: Steps between checkpoints; 0: none.
        keep_checkpoints: Newest checkpoints to keep.
        eval_period: Epochs between validations; 0: none.
        patience: Validations in a row without a new best before the run ends; 0: no limit.
        max_nonfinite_steps: Steps in a row that may be skipped because their gradients are not finite.
        max_bad_videos: Unreadable videos that an epoch may skip.
        num_precise_batches: Batches for precise batch norm after each epoch; 0: none.
        max_wait_seconds: Maximum wait for a batch; the run then saves a checkpoint and ends.
    """

    num_epochs: int
    seed: int = 0
    log_period: int = 10
    checkpoint_period: int = 1
    checkpoint_minutes: float = 0.0
    checkpoint_steps: int = 0
    keep_checkpoints: int = 2
    eval_period: int = 1
    patience: int = 0
    max_nonfinite_steps: int = 3
    max_bad_videos: int = 0
    num_precise_batches: int = 0
    max_wait_seconds: float = 300.0


@dataclass(frozen=True)
class TrainingSetup:
    """Objects of a training run; the trainer takes them instead of a recipe.

    Attributes:
        optimizer_step: Turns batches into steps.
        state: Network, optimiser and position, as stored in checkpoints.
        frozen: The frozen modules of the network.
        loader: Training batches of this rank; its ``batch_sampler`` has ``set_epoch(epoch, start_batch=)``.
        schedule: Learning rates.
        options: Options of the loop.
        validation: Predicts the validation split; ``None``: no validation.
    """

    optimizer_step: OptimizerStep
    state: TrainingState
    frozen: FrozenModules
    loader: DataLoader
    schedule: LrSchedule
    options: LoopOptions
    validation: SplitScorer | None = None


def build_training(
    cfg: CfgNode,
    *,
    ranks: Ranks | None = None,
    loss: Loss | None = None,
    with_initial_weights: bool = True,
) -> TrainingSetup:
    """Build all objects of a training run; nothing reads the recipe afterwards.

    Args:
        cfg: The recipe.
        ranks: Ranks of the run; default: the process group.
        loss: Loss of each clip, instead of the recipe's.
        with_initial_weights: Whether to load the starting weights; not needed for a resumed run.

    Raises:
        ConfigError: If the recipe cannot work.
        AnnotationError: If the list of videos is missing or malformed.
        CheckpointError: If the initial weights do not fit.
    """
    ranks = ranks or Ranks()
    device = compute_device()
    stage_data(cfg, used_splits(cfg, "train"), ranks)
    loader = build_loader(cfg, "train", world_size=ranks.world_size, rank=ranks.rank)
    model = _initial_model(cfg, with_weights=with_initial_weights)
    frozen = _prepare_training(cfg, model, device, ranks)
    averaged = MovingAverage(model, decay=cfg.EMA.DECAY) if cfg.EMA.ENABLE else None
    if loss is None:
        entries = loader.dataset.entries  # type: ignore[attr-defined]
        counts = class_counts(entries, num_classes=cfg.MODEL.NUM_CLASSES)
        loss = build_loss(cfg, class_counts=counts)
    step = _build_step(cfg, model, device, ranks, loss=loss)
    state = TrainingState(
        model,
        step.optimizer,
        scaler=step.scaler,
        ranks=ranks,
        steps_per_epoch=len(loader),
        averaged=averaged,
        class_names=read_class_names(cfg),
        config=cfg.dump(),
    )
    return TrainingSetup(
        optimizer_step=step,
        state=state,
        frozen=frozen,
        loader=loader,
        schedule=build_lr_schedule(cfg, steps_per_epoch=len(loader)),
        options=_loop_options(cfg),
        validation=SplitScorer(cfg, model, "val", ranks) if "val" in used_splits(cfg, "train") else None,
    )


def _initial_model(cfg: CfgNode, *, with_weights: bool) -> TSN | TSM:
    model = build_model(cfg, with_backbone_weights=with_weights)
    if cfg.TRAIN.CHECKPOINT_FILE_PATH and with_weights:
        report = load_initial_weights(cfg, model, read_class_names(cfg))
        logger.info(f"Weights to start from: {report}")
    return model


def _prepare_training(cfg: CfgNode, model: TSN | TSM, device: torch.device, ranks: Ranks) -> FrozenModules:
    """Apply freezing, batch norm and recomputation of the recipe, and move the network to its device."""
    frozen = freeze_modules(cfg, model)
    # PyTorch's synchronised batch norm needs a GPU, even in a group of one process.
    if cfg.BN.NORM_TYPE == "sync_batchnorm" and ranks.world_size > 1:
        synchronize_batch_norm(model, frozen=frozen.frozen)
    if cfg.MODEL.ACT_CHECKPOINT:
        if not checkpoint_activations(model.backbone):
            reason = f"{cfg.MODEL.BACKBONE} has no blocks to checkpoint"
            logger.warning(f"MODEL.ACT_CHECKPOINT is ignored: {reason}.")
    elif cfg.NONLOCAL.ACT_CHECKPOINT:
        checkpoint_activations(model.backbone, which="non_local")
    to_channels_last(model).to(device)
    return frozen


def _build_step(
    cfg: CfgNode, model: nn.Module, device: torch.device, ranks: Ranks, *, loss: Loss
) -> OptimizerStep:
    wrap: Callable[[nn.Module], Any] | None = None
    if ranks.world_size > 1:
        wrap = functools.partial(
            data_parallel,
            device=device,
            gradient_compression=cfg.DDP.GRADIENT_COMPRESSION,
            bucket_cap_mb=cfg.DDP.BUCKET_CAP_MB,
            static_graph=cfg.DDP.STATIC_GRAPH,
            gradient_as_bucket_view=cfg.DDP.GRADIENT_AS_BUCKET_VIEW,
        )
    return OptimizerStep(
        model,
        build_optimizer(cfg, model),
        normalize=build_normalize(cfg).to(device),
        device=device,
        loss=loss,
        wrap=wrap,
        clip_grad_l2norm=cfg.SOLVER.CLIP_GRAD_L2NORM,
        mixed_precision=cfg.TRAIN.MIXED_PRECISION,
        max_clips_per_forward=cfg.TRAIN.MAX_CLIPS_PER_FORWARD,
        batch_transform=build_batch_transform(cfg),
        compile_mode=cfg.TRAIN.COMPILE_MODE if cfg.TRAIN.COMPILE else "",
        clips_per_step=cfg.TRAIN.BATCH_SIZE // ranks.world_size,
    )


def _loop_options(cfg: CfgNode) -> LoopOptions:
    return LoopOptions(
        num_epochs=cfg.SOLVER.MAX_EPOCH,
        seed=cfg.RNG_SEED,
        log_period=cfg.LOG_PERIOD,
        checkpoint_period=cfg.TRAIN.CHECKPOINT_PERIOD,
        checkpoint_minutes=cfg.TRAIN.CHECKPOINT_MINUTES,
        checkpoint_steps=cfg.TRAIN.CHECKPOINT_STEPS,
        keep_checkpoints=cfg.TRAIN.KEEP_CHECKPOINTS,
        eval_period=cfg.TRAIN.EVAL_PERIOD,
        patience=cfg.TRAIN.EARLY_STOP_PATIENCE,
        max_nonfinite_steps=cfg.TRAIN.MAX_NONFINITE_STEPS,
        max_bad_videos=cfg.DATA.MAX_BAD_VIDEOS,
        num_precise_batches=cfg.BN.NUM_BATCHES_PRECISE if cfg.BN.USE_PRECISE_STATS else 0,
        max_wait_seconds=cfg.DATA_LOADER.MAX_WAIT_SECONDS,
    )
