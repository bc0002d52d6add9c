"""train, profile: run a recipe from building the network to the report, or trace some of its steps."""

import contextlib
import functools
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.profiler

from tsn_tsm_plugin import distributed
from tsn_tsm_plugin.atomic_files import replace_when_whole, write_text_atomically
from tsn_tsm_plugin.checkpoints.metadata import attributes_of_model
from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.config.defaults import flatten
from tsn_tsm_plugin.config.node import plain
from tsn_tsm_plugin.config.values import named_options
from tsn_tsm_plugin.engine.checkpoint import (
    checkpoint_path,
    export_weights,
    load_checkpoint,
    remove_unfinished,
)
from tsn_tsm_plugin.engine.device import describe_device
from tsn_tsm_plugin.engine.evaluate import evaluate_model
from tsn_tsm_plugin.engine.interruption import (
    EvaluationStopped,
    StopRequested,
    TrainingStopped,
    catch_stop_signals,
    never,
)
from tsn_tsm_plugin.engine.optimizer_step import StepResult
from tsn_tsm_plugin.engine.preflight import check_before_run, used_splits
from tsn_tsm_plugin.engine.random_state import make_deterministic, seed_all
from tsn_tsm_plugin.engine.resume import (
    newest_checkpoint,
    record_settings,
    results_of_finished_run,
    with_fitting_batches,
)
from tsn_tsm_plugin.engine.setup import TrainingSetup, build_training
from tsn_tsm_plugin.engine.trainer import Hook, Trainer
from tsn_tsm_plugin.engine.training_state import TrainingState
from tsn_tsm_plugin.log import get_logger, setup_logging, warn_on_failure
from tsn_tsm_plugin.ranks import Ranks
from tsn_tsm_plugin.registry import LOGGERS
from tsn_tsm_plugin.runs.metrics_log import MetricsLog, read_metrics
from tsn_tsm_plugin.runs.plots import plot_curves
from tsn_tsm_plugin.runs.progress import LapTimer
from tsn_tsm_plugin.runs.report import write_report
from tsn_tsm_plugin.runs.results import format_epochs, format_results
from tsn_tsm_plugin.runs.run_folder import RunFolder
from tsn_tsm_plugin.solver import format_param_groups, scaled_base_lr
from tsn_tsm_plugin.solver.losses import Loss
from tsn_tsm_plugin.transforms.build import (
    build_clip_transform,
    build_index_sampler,
)

logger = get_logger(__name__)

_NUM_WARMUP_STEPS, _NUM_PROFILED_STEPS = 5, 20
# Rows of the table of operators.
_NUM_OPERATORS = 30


def train(
    cfg: CfgNode,
    *,
    loss: Loss | None = None,
    hooks: Sequence[Hook] = (),
    stop_requested: StopRequested | None = None,
) -> dict[str, Any]:
    """Train the recipe's model, or resume its training, then test it.

    The results of a complete run are returned without training.

    The call runs in this process, as a rank of an existing process group, or as a rank of torchrun.

    Args:
        cfg: The recipe.
        loss: Loss of each clip, from logits (B, K) and labels to (B,), instead of the recipe's.
        hooks: Called by the trainer.
        stop_requested: Polled at every step; True on any rank stops all ranks after the same step. By
            default Ctrl-C, SIGTERM, SIGUSR1 and SIGUSR2 request a stop.

    Returns:
        Content of ``results.json``; the same on every rank.

    Raises:
        TrainingStopped: If a stop was requested; a checkpoint has been written.
        ConfigError: If the recipe cannot work.
        RunFolderError: If the run folder cannot be written, or belongs to another run.
        CheckpointError: If all checkpoints of the run folder are damaged or do not fit the recipe.
        VideoError: If more than ``DATA.MAX_BAD_VIDEOS`` videos, or all videos of an epoch, are unreadable.
        DivergedError: If the loss is not finite for too many steps.
        LoaderError: If no batch comes on a rank; a checkpoint has been written.
    """
    joined = distributed.init_process_group_from_env()
    with contextlib.ExitStack() as stack:
        if stop_requested is None:
            signals = catch_stop_signals(grace_seconds=cfg.TRAIN.STOP_GRACE_SECONDS)
            stop_requested = stack.enter_context(signals).requested
        ranks = Ranks()
        has_gpus = torch.cuda.is_available()
        ranks.on_main(lambda: check_before_run(cfg, "train", world_size=ranks.world_size, has_gpus=has_gpus))
        folder = ranks.on_main(lambda: RunFolder(cfg.OUTPUT_DIR))
        ranks.on_main(lambda: stack.enter_context(folder.locked()))
        setup_logging(folder.log, rank=ranks.rank)
        try:
            results = _train(cfg, folder, ranks, stop_requested, loss=loss, hooks=hooks)
        except TrainingStopped:
            if joined:
                distributed.destroy()
            raise
    if joined:
        distributed.destroy()
    return results


class _StepProfile(Hook):
    """Traces steps of rank 0 after a warm-up, and then ends the training of all ranks.

    Args:
        folder: Folder for ``trace.json.gz`` (for Perfetto or ``chrome://tracing``) and ``operators.txt``.
    """

    def __init__(self, folder: Path) -> None:
        self.trace, self.table = folder / "trace.json.gz", folder / "operators.txt"
        self._profile = torch.profiler.profile(record_shapes=True)
        self._num_steps = 0

    def before_step(self, trainer: Trainer, batch: dict[str, Any]) -> None:
        if self._num_steps == _NUM_WARMUP_STEPS and trainer.setup.state.ranks.is_main:
            self._profile.start()

    def after_step(self, trainer: Trainer, batch: dict[str, Any], result: StepResult) -> None:
        self._num_steps += 1
        if self._num_steps == _NUM_WARMUP_STEPS + _NUM_PROFILED_STEPS:
            if trainer.setup.state.ranks.is_main:
                self._write()
            raise TrainingStopped(trainer.step)

    def _write(self) -> None:
        self._profile.stop()
        with replace_when_whole(self.trace) as unfinished:
            self._profile.export_chrome_trace(str(unfinished))
        order = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = self._profile.key_averages().table(sort_by=order, row_limit=_NUM_OPERATORS)
        write_text_atomically(self.table, table + "\n")


def profile(cfg: CfgNode) -> dict[str, Any]:
    """Trace 20 training steps of rank 0, after 5 warm-up steps, into ``OUTPUT_DIR``; write no checkpoint.

    Args:
        cfg: The recipe; its epochs, validations and checkpoints are not used.

    Returns:
        Paths of ``trace.json.gz`` and ``operators.txt``.

    Raises:
        ConfigError: If the recipe cannot work.
        RunFolderError: If the folder cannot be written.
    """
    record = _StepProfile(Path(cfg.OUTPUT_DIR))
    settings = {"TRAIN.EVAL_PERIOD": 0, "TRAIN.CHECKPOINT_MINUTES": 0.0, "TRAIN.CHECKPOINT_STEPS": 0}
    # An epoch has at least one step, so the trace ends before the last epoch and before any checkpoint.
    epochs = ("SOLVER.MAX_EPOCH", "TRAIN.CHECKPOINT_PERIOD")
    settings |= dict.fromkeys(epochs, _NUM_WARMUP_STEPS + _NUM_PROFILED_STEPS + 1)
    with contextlib.suppress(TrainingStopped):
        train(cfg.changed(settings), hooks=[record], stop_requested=never)
    logger.info(f"Open {record.trace} in https://ui.perfetto.dev; the costliest operators: {record.table}")
    return {"trace": str(record.trace), "operators": str(record.table)}


def _train(
    cfg: CfgNode,
    folder: RunFolder,
    ranks: Ranks,
    stop_requested: StopRequested,
    *,
    loss: Loss | None,
    hooks: Sequence[Hook],
) -> dict[str, Any]:
    watch = LapTimer()
    checkpoint = ranks.on_main(lambda: _checkpoint_to_resume(cfg, folder))
    content = load_checkpoint(checkpoint) if checkpoint is not None else None
    if content is not None:
        results = ranks.on_main(lambda: results_of_finished_run(cfg, folder, content))
        if results is not None:
            return results
    cfg = ranks.on_main(lambda: with_fitting_batches(cfg, content, world_size=ranks.world_size))
    if cfg.DETERMINISTIC:
        make_deterministic()
    seed_all(cfg.RNG_SEED)
    setup = build_training(cfg, ranks=ranks, loss=loss, with_initial_weights=checkpoint is None)
    state = setup.state
    random_state = state.restore(content) if content is not None else None
    # After the restart has been accepted: a refused recipe must not replace the recipe of the weights.
    ranks.on_main(lambda: record_settings(cfg, folder, content, world_size=ranks.world_size))
    _log_run(cfg, setup)
    if checkpoint is not None:
        logger.info(f"Going on from {checkpoint}: epoch {state.position.epoch + 1}, step {state.step}.")
    trainer = Trainer(
        setup,
        folder=folder,
        hooks=hooks,
        metrics=_open_metrics(cfg, folder, state) if ranks.is_main else None,
        stop_requested=stop_requested,
    )
    trainer.run(random_state=random_state, validate_last=not _test_is_validation(cfg))
    return _finish(cfg, trainer, folder, watch, stop_requested)


def _checkpoint_to_resume(cfg: CfgNode, folder: RunFolder) -> Path | None:
    remove_unfinished(folder.checkpoints)
    found = newest_checkpoint(cfg, folder)
    return found[0] if found else None


def _open_metrics(cfg: CfgNode, folder: RunFolder, state: TrainingState) -> MetricsLog:
    asked = [named_options(item) for item in cfg.LOGGERS]
    if cfg.TENSORBOARD.ENABLE and "tensorboard" not in dict(asked):
        asked.append(("tensorboard", {}))
    recipe = flatten(plain(cfg))
    common = {"folder": folder.path, "run_name": folder.path.name, "recipe": recipe, "step": state.step}
    loggers = [
        functools.partial(LOGGERS.create, name, options=options, key="LOGGERS", **common)
        for name, options in asked
    ]
    return MetricsLog(
        folder.metrics, loggers=loggers, step=state.step, num_records=state.position.num_records
    )


def _log_run(cfg: CfgNode, setup: TrainingSetup) -> None:
    """Log the network, devices, data and optimiser."""
    state, loader, device = setup.state, setup.loader, setup.optimizer_step.device
    ranks, batch = state.ranks, cfg.TRAIN.BATCH_SIZE
    num_parameters = sum(p.numel() for p in state.model.parameters())
    logger.info(f"{state.model.describe()}; {num_parameters:,} parameters")
    logger.info(f"{ranks.world_size} process(es), {describe_device(device)}, seed {cfg.RNG_SEED}")
    num_videos = len(loader.dataset)  # type: ignore[arg-type]
    logger.info(
        f"{num_videos} training videos, {cfg.SOLVER.MAX_EPOCH} epochs of {len(loader)} steps, "
        f"{batch} clips in a step ({batch // ranks.world_size} in each process)"
    )
    solver = cfg.SOLVER
    lr = scaled_base_lr(cfg)
    scaled = (
        f", scaled from {solver.BASE_LR:g} for {solver.BASE_BATCH_SIZE} clips" if solver.AUTO_SCALE_LR else ""
    )
    logger.info(
        f"{solver.OPTIMIZING_METHOD}, lr {lr:g}{scaled}, {solver.LR_POLICY}, weight decay "
        f"{solver.WEIGHT_DECAY:g}, parameter groups:\n{format_param_groups(state.optimizer.param_groups)}"
    )


def _test_is_validation(cfg: CfgNode) -> bool:
    """Return whether the final test equals the last validation, so that the test alone is enough."""
    if not cfg.DATA.VAL_LIST or cfg.DATA.TEST_LIST not in ("", cfg.DATA.VAL_LIST):
        return False
    transforms = [repr(build_clip_transform(cfg, split)) for split in ("val", "test")]
    val_frames, test_frames = (build_index_sampler(cfg, split) for split in ("val", "test"))
    lengths = (1, 10, 97, 300)
    return transforms[0] == transforms[1] and all(
        torch.equal(val_frames(length, None), test_frames(length, None)) for length in lengths
    )


def _finish(
    cfg: CfgNode,
    trainer: Trainer,
    folder: RunFolder,
    watch: LapTimer,
    stop_requested: StopRequested,
) -> dict[str, Any]:
    """Test the final weights, draw the curves, and log the paths of the results."""
    if trainer.has_stopped_early:
        logger.info(f"Stopped early: TRAIN.EARLY_STOP_PATIENCE {cfg.TRAIN.EARLY_STOP_PATIENCE} is used up.")
    state = trainer.setup.state
    state.share_buffers()
    results: dict[str, Any] = {
        "weights": str(checkpoint_path(folder.checkpoints, step=trainer.step)),
        "step": trainer.step,
        "stopped_early": trainer.has_stopped_early,
    }
    # Export first, so that no later failure loses the weights.
    state.ranks.on_main(
        lambda: export_weights(
            state.tested_model.state_dict(),
            folder.weights,
            config=cfg.dump(),
            class_names=state.class_names,
            attributes=attributes_of_model(state.tested_model),
        )
    )
    is_tested = "test" in used_splits(cfg, "train")
    if is_tested:
        try:
            results = evaluate_model(
                cfg, state.tested_model, folder, state.ranks, about=results, stop_requested=stop_requested
            )
        except EvaluationStopped as error:
            raise TrainingStopped(trainer.step) from error
        if _test_is_validation(cfg) and cfg.TRAIN.EVAL_PERIOD and not trainer.has_stopped_early:
            trainer.note_validation(state.position.epoch, results)
    trainer.close()
    if state.ranks.is_main:
        with warn_on_failure(folder.plots / "curves.png"):
            plot_curves(read_metrics(folder.metrics), folder.plots / "curves.png")
        if is_tested:
            with warn_on_failure(folder.report):
                write_report(cfg, folder)
        with warn_on_failure("The table of epochs"):
            logger.info(f"Epochs:\n{format_epochs(read_metrics(folder.metrics))}")
    if is_tested:
        with warn_on_failure("The table of results"):
            logger.info(f"Results of the final weights:\n{format_results(results)}")
    else:
        logger.info("Nothing was tested: DATA.VAL_LIST and DATA.TEST_LIST are empty.")
    duration = timedelta(seconds=round(watch.lap()))
    logger.info(f"Done in {duration}. Checkpoints, plots, results and report.html are in {folder.path}")
    return results
