"""Trainer and Hook: the training loop, with checkpoints and validation in between.

The loop never waits for the device between two lines of the log. During step n, the batch of step n + 1 is
fetched and copied, and the ranks exchange its size.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from tsn_tsm_plugin.data.loader_watch import watched_batches
from tsn_tsm_plugin.engine.bad_videos import BadVideos
from tsn_tsm_plugin.engine.checkpoint import checkpoint_path, keep_newest, mark_best, save_checkpoint
from tsn_tsm_plugin.engine.fetch_ahead import Agreement, StepFeed
from tsn_tsm_plugin.engine.interruption import EvaluationStopped, StopRequested, TrainingStopped, never
from tsn_tsm_plugin.engine.optimizer_step import StepLog, StepNumbers, StepResult
from tsn_tsm_plugin.engine.precise_batch_norm import set_precise_statistics
from tsn_tsm_plugin.engine.random_state import seed_all, set_random_state
from tsn_tsm_plugin.engine.setup import TrainingSetup
from tsn_tsm_plugin.errors import DivergedError, LoaderError, VideoError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.runs.metrics_log import MetricsLog
from tsn_tsm_plugin.runs.progress import LapTimer, Progress, Totals
from tsn_tsm_plugin.runs.results import METRICS, accuracies
from tsn_tsm_plugin.runs.run_folder import RunFolder
from tsn_tsm_plugin.solver.losses import Loss

logger = get_logger(__name__)


class Hook:
    """Called by the trainer, on every rank; each method does nothing by default."""

    def before_step(self, trainer: "Trainer", batch: dict[str, Any]) -> None:
        """Inspect or change the batch of a step; its tensors are on the device."""

    def after_step(self, trainer: "Trainer", batch: dict[str, Any], result: StepResult) -> None:
        """Inspect a step. Reading a number of ``result`` makes the CPU wait for the device."""

    def after_epoch(self, trainer: "Trainer", epoch: int) -> None:
        """Run after the last step of an epoch, counted from 0, before its checkpoint."""

    def after_validation(self, trainer: "Trainer", epoch: int, values: dict[str, float]) -> None:
        """Run after the validation of an epoch, counted from 0; ``values`` are its metrics by name."""


class Trainer:
    """Trains a run from its current state to its last epoch.

    Args:
        setup: Network, data and options of the run.
        folder: The run folder.
        loss: Loss of each clip, from logits (B, K) and labels to (B,), instead of the setup's.
        hooks: Called in order.
        metrics: Log of the numbers, on the main rank.
        stop_requested: Polled at every step.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        *,
        folder: RunFolder,
        loss: Loss | None = None,
        hooks: Sequence[Hook] = (),
        metrics: MetricsLog | None = None,
        stop_requested: StopRequested = never,
    ) -> None:
        self.setup = setup
        self._options = setup.options
        self._folder = folder
        self._state = setup.state
        self._ranks = setup.state.ranks
        self._take_step = setup.optimizer_step
        if loss is not None:
            self._take_step.set_loss(loss)
        self._hooks = hooks
        self._metrics = metrics
        self._stop_requested = stop_requested
        self._steps_per_epoch = setup.state.steps_per_epoch
        self._saved_step = self.step
        self._feed = StepFeed(
            self._ranks,
            device=self._take_step.device,
            stop_requested=stop_requested,
            checkpoint_minutes=self._options.checkpoint_minutes,
            checkpoint_steps=self._options.checkpoint_steps,
        )
        self._log = StepLog(
            self._take_step.device, capacity=min(self._options.log_period, self._steps_per_epoch)
        )
        # Number and video names of each step whose result is still on the device.
        self._unread: list[tuple[int, list[str]]] = []
        bad_videos_file = folder.bad_videos if self._ranks.is_main else None
        self._bad_videos = BadVideos(bad_videos_file, bound=self._options.max_bad_videos)
        self._progress = Progress(
            self._ranks,
            metrics,
            num_epochs=self._options.num_epochs,
            steps_per_epoch=self._steps_per_epoch,
            extra_steps=self._state.position.extra_steps,
            log_period=self._options.log_period,
            collect=self._read_steps,
        )

    @property
    def model(self) -> nn.Module:
        """The trained network, without a wrapper."""
        return self._state.model

    @property
    def step(self) -> int:
        """Steps done in the whole run; checkpoints and metrics are ordered by it."""
        return self._state.step

    def run(self, *, random_state: dict[str, Any] | None = None, validate_last: bool = True) -> None:
        """Train to the end of the last epoch.

        Args:
            random_state: Random state of a checkpoint within an epoch.
            validate_last: Whether to validate after the last epoch; not needed before an equal test.

        Raises:
            TrainingStopped: If a stop was requested on any rank; a checkpoint has been written.
            LoaderError: If no batch comes on a rank; a checkpoint has been written.
            VideoError: If too many videos are unreadable, or an epoch has no readable video.
            DivergedError: If the gradients are not finite for too many steps in a row.
            RunFolderError: If a checkpoint cannot be written.
        """
        num_epochs = self._options.num_epochs
        try:
            while self._state.position.epoch < num_epochs:
                epoch = self._state.position.epoch
                is_last = epoch + 1 == num_epochs
                self._train_epoch(epoch, random_state)
                random_state = None
                if is_last or (epoch + 1) % self._options.checkpoint_period == 0:
                    self._save()
                if self._is_validated(epoch) and (validate_last or not is_last):
                    self._validate(epoch)
                if is_last or self.has_stopped_early:
                    break
                self._state.position.start_next_epoch()
        finally:
            self._progress.close()

    def _is_validated(self, epoch: int) -> bool:
        period = self._options.eval_period
        return period > 0 and ((epoch + 1) % period == 0 or epoch + 1 == self._options.num_epochs)

    def _train_epoch(self, epoch: int, random_state: dict[str, Any] | None) -> None:
        position = self._state.position
        if position.batch >= self._steps_per_epoch:
            return  # The checkpoint is at the end of an epoch: only its validation remains.
        batches = self._batches(epoch, start_batch=position.batch)
        self._bad_videos.start_epoch(position.bad_videos)
        self._progress.start_epoch(epoch, batch=position.batch, totals=position.totals)
        self.setup.frozen.set_train_mode()
        self._take_step.keep_statistics()
        watch = LapTimer()
        ahead = self._feed.fetch(batches, step=self.step + 1)
        data_seconds = ahead.data_seconds
        # Restore after starting the loader, which draws a random number.
        seed_all(self._options.seed, epoch=epoch, rank=self._ranks.rank)
        if random_state is not None:
            set_random_state(random_state)
        while position.batch < self._steps_per_epoch:
            present, agreed = ahead, ahead.agreement()
            if agreed.must_stop:
                self._stop()
            if agreed.is_a_video_bad:
                self._count_bad_videos(present.batch)
            batch = self._feed.on_device(present)
            if position.batch + 1 < self._steps_per_epoch:
                ahead = self._feed.fetch(batches, step=self.step + 2)
                data_seconds += ahead.data_seconds
            lr = self.setup.schedule.set_lr_(self._state.optimizer, self._state.scheduled_step)
            self._train_on(batch, agreed)
            position.batch += 1
            totals, data_seconds = Totals(steps=1, seconds=watch.lap(), data_seconds=data_seconds), 0.0
            self._progress.step(self.step, totals, lr=lr)
            if agreed.must_save and position.batch < self._steps_per_epoch:
                self._save()
        self._end_epoch(epoch)

    def _batches(self, epoch: int, *, start_batch: int = 0) -> Iterator[dict[str, Any]]:
        self.setup.loader.batch_sampler.set_epoch(epoch, start_batch=start_batch)  # type: ignore[union-attr]
        return watched_batches(self.setup.loader, max_wait_seconds=self._options.max_wait_seconds)

    def _count_bad_videos(self, batch: dict[str, Any]) -> None:
        self._bad_videos.add(v for part in self._ranks.gather(batch["bad_videos"]) for v in part)
        self._state.position.bad_videos = self._bad_videos.counted

    def _train_on(self, batch: dict[str, Any], agreed: Agreement) -> None:
        """Take a step, or skip it if a rank has no clip, because ranks step together."""
        if agreed.is_a_rank_empty:
            return
        for hook in self._hooks:
            hook.before_step(self, batch)
        result = self._take_step(batch, num_clips=agreed.num_clips, world_size=self._ranks.world_size)
        if self._state.averaged is not None:
            self._state.averaged.update(self._state.model, is_applied=result.is_applied)
        self._log.add(result)
        self._unread.append((self.step + 1, batch["video_name"]))
        for hook in self._hooks:
            hook.after_step(self, batch, result)

    def _read_steps(self) -> Totals:
        """Read the results since the last reading from the device; every rank calls this method."""
        totals = Totals()
        unread, self._unread = self._unread, []
        for (step, names), numbers in zip(unread, self._log.read(), strict=True):
            if numbers.is_applied:
                self._state.position.nonfinite_steps = 0
                totals.clips += len(names)
                totals.loss += numbers.loss
                totals.right += numbers.num_correct
                totals.grad_norm += numbers.grad_norm
            else:
                totals.clips_left_out += len(names)
                self._count_nonfinite_step(step, names, numbers)
        return totals

    def _count_nonfinite_step(self, step: int, names: list[str], numbers: StepNumbers) -> None:
        """Count a step with non-finite gradients; the norm is equal on all ranks."""
        parts = self._ranks.gather((numbers.loss, names))
        losses = [loss for loss, _ in parts]
        is_loss_finite = all(abs(loss) < float("inf") for loss in losses)
        if is_loss_finite and self._state.scaler.is_enabled() and numbers.loss_scale >= 1.0:
            return  # After fp16 overflow, the scaler halves its factor until a step succeeds.
        self._state.position.nonfinite_steps += 1
        videos = ", ".join(name for _, names in parts for name in names)
        logger.warning(
            f"Step {step} skipped: loss {sum(losses)}, gradient norm {numbers.grad_norm}. Videos: {videos}"
        )
        in_a_row, bound = self._state.position.nonfinite_steps, self._options.max_nonfinite_steps
        if in_a_row > bound:
            raise DivergedError(
                f"The loss or its gradient was not finite for {in_a_row} steps in a row, up to step {step} "
                f"(TRAIN.MAX_NONFINITE_STEPS {bound}). The last videos were {videos}. The checkpoints in "
                f"{self._folder.checkpoints} are from before; lower SOLVER.BASE_LR or "
                "SOLVER.CLIP_GRAD_L2NORM, or look at the videos."
            )

    def _end_epoch(self, epoch: int) -> None:
        self._progress.end_epoch(epoch)
        totals = self._state.position.totals
        if not (totals.clips or totals.clips_left_out):
            raise VideoError(
                f"Epoch {epoch + 1} is empty: none of its videos could be read. See "
                f"{self._folder.bad_videos}."
            )
        if self._options.num_precise_batches:
            set_precise_statistics(
                self._state.tested_model_in_train_mode(),
                lambda: self._batches(epoch),
                normalize=self._take_step.normalize,
                device=self._take_step.device,
                num_batches=min(self._options.num_precise_batches, self._steps_per_epoch),
                ranks=self._ranks,
            )
        for hook in self._hooks:
            hook.after_epoch(self, epoch)

    def _stop(self) -> None:
        failures = [failure for failure in self._ranks.gather(self._feed.loader_failure) if failure]
        self._save()
        if failures:
            raise LoaderError(f"{failures[0]} The same command goes on after step {self.step}.")
        logger.info(f"Stopped after step {self.step}; the same command goes on from there.")
        raise TrainingStopped(self.step)

    def _save(self) -> None:
        """Write a checkpoint of the last complete step; every rank calls this method."""
        step = self.step
        if step == self._saved_step:
            return
        lr = self.setup.schedule.lr_at(max(self._state.scheduled_step - 1, 0))
        self._progress.flush(step, lr=lr)
        if self._metrics is not None:
            self._state.position.num_records = self._metrics.num_records
        content = self._state.snapshot()
        self._ranks.on_main(lambda: self._write(content, step))
        self._saved_step = step
        self._feed.note_saved()

    def _write(self, content: dict[str, Any], step: int) -> None:
        save_checkpoint(content, checkpoint_path(self._folder.checkpoints, step=step))
        keep_newest(self._folder.checkpoints, count=self._options.keep_checkpoints)

    def _validate(self, epoch: int) -> None:
        if self.setup.validation is None:
            return
        self._state.share_buffers()
        try:
            predictions, _ = self.setup.validation(
                self._state.tested_model,
                bad_videos_file=self._folder.bad_videos,
                stop_requested=self._stop_requested,
            )
        except EvaluationStopped:
            self._stop()
        except LoaderError:
            self._save()
            raise
        self.note_validation(epoch, accuracies(predictions, view_average=self.setup.validation.view_average))

    def note_validation(self, epoch: int, results: dict[str, Any]) -> None:
        """Log a validation after ``epoch`` and keep the best checkpoint; every rank calls this method.

        Args:
            epoch: The epoch, counted from 0.
            results: Metrics of ``accuracies`` come first; other entries are not logged.
        """
        values = {name: results[name] for name in METRICS if name in results}
        shown = ", ".join(f"{METRICS[name]} {v:.2f} %" for name, v in values.items() if name != "loss")
        logger.info(f"epoch {epoch + 1} validation: {shown}, loss {values['loss']:.4f}")
        if self._metrics is not None:
            self._metrics.write(self.step, epoch + 1, {f"val/{name}": v for name, v in values.items()})
        for hook in self._hooks:
            hook.after_validation(self, epoch, values)
        if self._state.position.count_validation(next(iter(values.values()))):
            self._save()
            self._ranks.on_main(lambda: mark_best(checkpoint_path(self._folder.checkpoints, step=self.step)))

    @property
    def has_stopped_early(self) -> bool:
        """Whether ``patience`` validations in a row were not the best."""
        return 0 < self._options.patience <= self._state.position.validations_since_best

    def close(self) -> None:
        """Flush the metrics."""
        if self._metrics is not None:
            self._metrics.close()
