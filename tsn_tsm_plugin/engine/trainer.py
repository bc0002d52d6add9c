"""The training loop: batch, update, step; checkpoints and validation in between."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.engine.bad_videos import BadVideos
from tsn_tsm_plugin.engine.checkpoint import checkpoint_path, keep_newest, mark_best, save_checkpoint
from tsn_tsm_plugin.engine.freezing import TrainMode
from tsn_tsm_plugin.engine.interruption import EvaluationStopped, StopRequested, TrainingStopped
from tsn_tsm_plugin.engine.optimizer_step import Updater, UpdateResult
from tsn_tsm_plugin.engine.precise_batch_norm import set_precise_statistics
from tsn_tsm_plugin.engine.random_state import seed_all, set_random_state
from tsn_tsm_plugin.engine.score_split import run_model, view_average_of
from tsn_tsm_plugin.engine.training_state import TrainingState
from tsn_tsm_plugin.errors import DivergedError, VideoError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.runs.metrics_log import MetricsLog
from tsn_tsm_plugin.runs.progress import Progress, Stopwatch, Totals
from tsn_tsm_plugin.runs.results import METRICS, accuracies
from tsn_tsm_plugin.runs.run_folder import RunFolder
from tsn_tsm_plugin.solver import LrSchedule

logger = get_logger(__name__)


@dataclass
class _Agreement:
    """What all ranks know about the step that comes, from one exchange."""

    num_clips: int
    is_a_rank_empty: bool
    is_a_video_bad: bool
    must_stop: bool
    must_save: bool


class Trainer:
    """Takes a run from where its state is to its last epoch.

    Args:
        cfg: The recipe.
        folder: The run folder.
        state: Network, optimiser and position.
        train_mode: Of that network.
        updater: Turns batches into updates of that network.
        loader: Training batches of this rank.
        schedule: Learning rates.
        metrics: Where numbers are written, on the main rank.
        class_names: Of the label map.
        stop_requested: Polled at every step.
    """

    def __init__(
        self,
        cfg: CfgNode,
        *,
        folder: RunFolder,
        state: TrainingState,
        train_mode: TrainMode,
        updater: Updater,
        loader: DataLoader,
        schedule: LrSchedule,
        metrics: MetricsLog | None,
        class_names: list[str],
        stop_requested: StopRequested,
    ) -> None:
        self._cfg = cfg
        self._folder = folder
        self._state = state
        self._train_mode = train_mode
        self._ranks = state.ranks
        self._updater = updater
        self._loader = loader
        self._schedule = schedule
        self._metrics = metrics
        self._class_names = class_names
        self._stop_requested = stop_requested
        self._steps_per_epoch = len(loader)
        self._bad_steps = 0
        self._saved_at, self._saved_step = time.monotonic(), self.step
        self._bad_videos = BadVideos(
            folder.bad_videos if self._ranks.is_main else None, bound=cfg.DATA.MAX_BAD_VIDEOS
        )
        self._progress = Progress(
            self._ranks,
            metrics,
            num_epochs=cfg.SOLVER.MAX_EPOCH,
            steps_per_epoch=self._steps_per_epoch,
            extra_steps=state.position.extra_steps,
            log_period=cfg.LOG_PERIOD,
        )

    @property
    def step(self) -> int:
        """Steps done in the whole run; checkpoints and metrics are ordered by it."""
        return self._state.position.extra_steps + self._scheduled_step

    @property
    def _scheduled_step(self) -> int:
        """Steps up to here of a run whose epochs are all as long as today's, as the schedule counts."""
        return self._state.position.epoch * self._steps_per_epoch + self._state.position.batch

    def run(self, *, random_state: dict[str, Any] | None, validate_last: bool) -> None:
        """Train to the end of the last epoch.

        Args:
            random_state: Of the checkpoint that the run goes on from, if it lies within an epoch.
            validate_last: Whether to validate after the last epoch too; not needed where a test that asks
                the same follows.

        Raises:
            TrainingStopped: If a stop was requested on any rank; a checkpoint has been written.
            VideoError: If too many videos are unreadable, or an epoch had none.
            DivergedError: If the gradients were not finite for too many steps in a row.
            RunFolderError: If a checkpoint could not be written.
        """
        num_epochs = self._cfg.SOLVER.MAX_EPOCH
        try:
            while self._state.position.epoch < num_epochs:
                epoch = self._state.position.epoch
                is_last = epoch + 1 == num_epochs
                self._train_epoch(epoch, random_state)
                random_state = None
                if is_last or (epoch + 1) % self._cfg.TRAIN.CHECKPOINT_PERIOD == 0:
                    self._save()
                if self._is_validated(epoch) and (validate_last or not is_last):
                    self._validate(epoch)
                if is_last:
                    break
                self._state.position.start_next_epoch()
        finally:
            self._progress.close()

    def _is_validated(self, epoch: int) -> bool:
        period = self._cfg.TRAIN.EVAL_PERIOD
        return period > 0 and ((epoch + 1) % period == 0 or epoch + 1 == self._cfg.SOLVER.MAX_EPOCH)

    def _train_epoch(self, epoch: int, random_state: dict[str, Any] | None) -> None:
        position = self._state.position
        if position.batch >= self._steps_per_epoch:
            return  # A checkpoint at the end of an epoch: only its validation is left.
        self._loader.batch_sampler.set_epoch(epoch, start_batch=position.batch)  # type: ignore[union-attr]
        batches = iter(self._loader)
        # After the loader, which draws a number of its own when it starts.
        seed_all(self._cfg.RNG_SEED, epoch=epoch, rank=self._ranks.rank)
        if random_state is not None:
            set_random_state(random_state)
        self._bad_videos.start_epoch()
        self._progress.start_epoch(epoch, batch=position.batch, totals=position.totals)
        self._train_mode.set()
        watch = Stopwatch()
        while position.batch < self._steps_per_epoch:
            batch = self._next(batches)
            data_seconds = watch.lap()
            agreed = self._agree(batch)
            if agreed.must_stop:
                self._stop()
            if agreed.is_a_video_bad:
                self._bad_videos.add(v for part in self._ranks.gather(batch["bad_videos"]) for v in part)
            lr = self._schedule.set_lr_(self._state.optimizer, self._scheduled_step)
            totals = self._update(batch, agreed)
            position.batch += 1
            totals.data_seconds = data_seconds
            totals.seconds = data_seconds + watch.lap()
            self._progress.step(self.step, totals, lr=lr)
            if agreed.must_save and position.batch < self._steps_per_epoch:
                self._save()
        self._progress.end_epoch(epoch)
        if not (position.totals.clips or position.totals.clips_left_out):
            raise VideoError(
                f"Epoch {epoch + 1} is empty: none of its videos could be read. See "
                f"{self._folder.bad_videos}."
            )
        if self._cfg.BN.USE_PRECISE_STATS:
            self._set_precise_statistics(epoch)

    def _set_precise_statistics(self, epoch: int) -> None:
        self._loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        set_precise_statistics(
            self._state.tested_model_in_train_mode(),
            self._loader,
            normalize=self._updater.normalize,
            device=self._updater.device,
            num_batches=self._cfg.BN.NUM_BATCHES_PRECISE,
            ranks=self._ranks,
        )

    def _next(self, batches: Iterator[dict[str, Any]]) -> dict[str, Any]:
        """Return the next batch; an empty one if a worker has ended since a stop was asked for."""
        try:
            return next(batches)
        except RuntimeError:
            if not self._stop_requested():
                raise
            return {"video_name": [], "bad_videos": []}

    def _agree(self, batch: dict[str, Any]) -> _Agreement:
        num_clips = len(batch["video_name"])
        minutes, steps = self._cfg.TRAIN.CHECKPOINT_MINUTES, self._cfg.TRAIN.CHECKPOINT_STEPS
        # Clocks differ between ranks: that of rank 0 counts.
        is_time = minutes > 0 and self._ranks.is_main and time.monotonic() - self._saved_at > 60 * minutes
        is_save_due = is_time or (steps > 0 and (self.step + 1) % steps == 0)
        flags = (num_clips == 0, bool(batch["bad_videos"]), self._stop_requested(), is_save_due)
        total, *votes = self._ranks.sum([num_clips, *flags])
        return _Agreement(int(total), *(vote > 0 for vote in votes))

    def _update(self, batch: dict[str, Any], agreed: _Agreement) -> Totals:
        """Take a step, or leave it out where a rank has no clip: ranks can only step together."""
        if agreed.is_a_rank_empty:
            return Totals(steps=1)
        result = self._updater(batch, num_clips=agreed.num_clips, world_size=self._ranks.world_size)
        if not result.is_applied:
            self._count_bad_step(batch, result)
            return Totals(steps=1, clips_left_out=len(batch["video_name"]))
        self._bad_steps = 0
        if self._state.averaged is not None:
            self._state.averaged.update_parameters(self._state.model)
        return Totals(
            steps=1,
            clips=len(batch["video_name"]),
            loss=result.loss,
            right=result.num_right,
            grad_norm=result.grad_norm,
        )

    def _count_bad_step(self, batch: dict[str, Any], result: UpdateResult) -> None:
        """Count a step whose gradients are not finite; the norm, and so the branch, is that of all ranks."""
        parts = self._ranks.gather((result.loss, batch["video_name"]))
        losses = [loss for loss, _ in parts]
        is_loss_finite = all(abs(loss) < float("inf") for loss in losses)
        if is_loss_finite and self._state.scaler.is_enabled() and self._state.scaler.get_scale() >= 1.0:
            return  # fp16 overflowed: the scaler halves its factor until a step fits.
        self._bad_steps += 1
        names = ", ".join(name for _, names in parts for name in names)
        logger.warning(
            f"Step {self.step + 1} left out: loss {sum(losses)}, gradient norm {result.grad_norm}. Videos: "
            f"{names}"
        )
        if self._bad_steps > self._cfg.TRAIN.MAX_NONFINITE_STEPS:
            raise DivergedError(
                f"The loss or its gradient was not finite for {self._bad_steps} steps in a row, up to step "
                f"{self.step + 1} (TRAIN.MAX_NONFINITE_STEPS {self._cfg.TRAIN.MAX_NONFINITE_STEPS}). The "
                f"last videos were {names}. The checkpoints in {self._folder.checkpoints} are from before; "
                "lower SOLVER.BASE_LR or SOLVER.CLIP_GRAD_L2NORM, or look at the videos."
            )

    def _stop(self) -> None:
        self._save()
        logger.info(f"Stopped after step {self.step}; the same command goes on from there.")
        raise TrainingStopped(self.step)

    def _save(self) -> None:
        """Write a checkpoint of the last whole step; every rank calls it."""
        step = self.step
        if step == self._saved_step:
            return
        lr = self._schedule.lr_at(max(self._scheduled_step - 1, 0))
        self._progress.flush(step, lr=lr)
        content = self._state.snapshot(
            self._cfg, step=step, lr=lr, steps_per_epoch=self._steps_per_epoch, class_names=self._class_names
        )
        self._ranks.on_main(lambda: self._write(content, step))
        self._saved_at, self._saved_step = time.monotonic(), step

    def _write(self, content: dict[str, Any], step: int) -> None:
        save_checkpoint(content, checkpoint_path(self._folder.checkpoints, step=step))
        keep_newest(self._folder.checkpoints, count=self._cfg.TRAIN.KEEP_CHECKPOINTS)

    def _validate(self, epoch: int) -> None:
        self._state.share_buffers()
        try:
            predictions, _ = run_model(
                self._cfg,
                self._state.tested_model,
                "val",
                self._folder,
                self._ranks,
                stop_requested=self._stop_requested,
            )
        except EvaluationStopped:
            self._stop()
        values = accuracies(predictions, view_average=view_average_of(self._cfg, self._state.tested_model))
        self.note_validation(epoch, values)

    def note_validation(self, epoch: int, results: dict[str, Any]) -> None:
        """Log a validation after ``epoch`` and keep its checkpoint if it is the best; every rank calls it.

        Args:
            epoch: From 0.
            results: Begins with what ``accuracies`` returns; others are not logged.
        """
        values = {name: results[name] for name in METRICS if name in results}
        shown = ", ".join(
            f"{METRICS[name]} {value:.2f} %" for name, value in values.items() if name != "loss"
        )
        logger.info(f"epoch {epoch + 1} validation: {shown}, loss {values['loss']:.4f}")
        if self._metrics is not None:
            self._metrics.write(self.step, epoch + 1, {f"val/{name}": v for name, v in values.items()})
        decisive = next(iter(values.values()))
        if decisive > self._state.position.best:
            self._state.position.best = decisive
            self._save()
            self._ranks.on_main(lambda: mark_best(checkpoint_path(self._folder.checkpoints, step=self.step)))

    def close(self) -> None:
        """Write out what the metrics still hold back."""
        if self._metrics is not None:
            self._metrics.close()
