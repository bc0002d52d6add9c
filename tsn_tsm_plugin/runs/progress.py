"""Progress, Totals, LapTimer: progress of a training run, as a bar or as log lines."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.ranks import Ranks
from tsn_tsm_plugin.runs.metrics_log import MetricsLog

logger = get_logger(__name__)

_Item = TypeVar("_Item")
# Proportion of time spent waiting for data that causes a warning at the end of an epoch.
_DATA_BOUND = 0.3
# No warning below this waiting time, in seconds.
_LEAST_WAITED = 5.0


@dataclass
class Totals:
    """Sums over steps; checkpoints contain the sums of the current epoch.

    ``clips`` counts applied steps. ``clips_left_out`` counts steps with gradients that are not finite.
    """

    steps: int = 0
    clips: int = 0
    clips_left_out: int = 0
    loss: float = 0.0
    right: int = 0
    grad_norm: float = 0.0
    seconds: float = 0.0
    data_seconds: float = 0.0

    def add(self, other: "Totals") -> None:
        """Add the sums of other steps."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def means(self) -> dict[str, float]:
        """Return the logged numbers by name."""
        return {
            "loss": self.loss / max(self.clips, 1),
            "top1": 100.0 * self.right / max(self.clips, 1),
            "grad_norm": self.grad_norm / max(self.steps, 1),
            "clips_per_second": self.clips / max(self.seconds, 1e-9),
            "data_time_percent": 100.0 * self.data_seconds / max(self.seconds, 1e-9),
        }


class Progress:
    """Follows a training run step by step.

    Args:
        ranks: Ranks whose numbers are summed every ``log_period`` steps.
        metrics: Log of the numbers, on the main rank.
        num_epochs: Epochs of the whole run.
        steps_per_epoch: Steps of an epoch.
        log_period: Steps between two lines.
        extra_steps: See :class:`~tsn_tsm_plugin.engine.training_state.Position`.
        collect: Returns further sums since the last line, such as numbers read late from the device.
    """

    def __init__(
        self,
        ranks: Ranks,
        metrics: MetricsLog | None,
        *,
        num_epochs: int,
        steps_per_epoch: int,
        log_period: int,
        extra_steps: int = 0,
        collect: Callable[[], Totals] = Totals,
    ) -> None:
        self._ranks = ranks
        self._metrics = metrics
        self._num_epochs = num_epochs
        self._steps_per_epoch = steps_per_epoch
        self._extra_steps = extra_steps
        self._log_period = log_period
        self._collect = collect
        self._window = Totals()
        self._seconds_per_step = 0.0
        self._bar = tqdm(disable=True)
        self._has_warned = False
        self.epoch_totals = Totals()

    def start_epoch(self, epoch: int, *, batch: int, totals: Totals) -> None:
        """Start or resume an epoch.

        Args:
            epoch: Counted from 0.
            batch: Number of steps already taken in the epoch.
            totals: Sums over these steps and all ranks.
        """
        self.epoch_totals = totals
        self._window = Totals()
        total, label = self._steps_per_epoch, f"epoch {epoch + 1}"
        self._bar = _bar(label, total=total, initial=batch, shown=self._ranks.is_main)

    def step(self, step: int, totals: Totals, *, lr: float) -> None:
        """Count one step; every rank calls this method.

        Args:
            step: Steps taken in the whole run, including this step.
            totals: Sums of this rank over this step.
            lr: Learning rate of the step.
        """
        self._window.add(totals)
        self._bar.update()
        is_last = (step - self._extra_steps) % self._steps_per_epoch == 0
        if step % self._log_period == 0 or is_last:
            self.flush(step, lr=lr)

    def flush(self, step: int, *, lr: float) -> None:
        """Sum, show and log the numbers of all ranks since the last call; every rank calls this method."""
        self._window.add(self._collect())
        window, self._window = self._sum_over_ranks(self._window), Totals()
        if not window.steps:
            return
        self.epoch_totals.add(window)
        values = window.means()
        recent = window.seconds / window.steps
        self._seconds_per_step = (
            0.7 * self._seconds_per_step + 0.3 * recent if self._seconds_per_step else recent
        )
        position = step - self._extra_steps
        epoch = (position - 1) // self._steps_per_epoch
        steps_left = self._num_epochs * self._steps_per_epoch - position
        eta = timedelta(seconds=round(steps_left * self._seconds_per_step))
        share = values["data_time_percent"]
        self._bar.set_postfix_str(f"loss {values['loss']:.3f}, lr {lr:.4g}, data {share:.0f} %, eta {eta}")
        done = position - epoch * self._steps_per_epoch
        logger.info(self._line(epoch, done, values, lr=lr, eta=eta), extra={"is_progress": True})
        if self._metrics is not None:
            record = {f"train/{name}": value for name, value in values.items()}
            record["train/lr"] = lr
            if torch.cuda.is_available():
                record["train/gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
            self._metrics.write(step, epoch + 1, record)

    def _line(self, epoch: int, done: int, values: dict[str, float], *, lr: float, eta: timedelta) -> str:
        memory = (
            f", GPU {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if torch.cuda.is_available() else ""
        )
        return (
            f"epoch {epoch + 1} step {done}/{self._steps_per_epoch}: loss {values['loss']:.4f}, "
            f"top-1 {values['top1']:.1f} %, lr {lr:.4g}, {values['clips_per_second']:.1f} clips/s, "
            f"data {values['data_time_percent']:.0f} %{memory}, eta {eta}"
        )

    def _sum_over_ranks(self, totals: Totals) -> Totals:
        """Add clips, losses and correct clips; steps and seconds are equal on all ranks."""
        clips, left_out, loss, right = self._ranks.sum(
            [totals.clips, totals.clips_left_out, totals.loss, totals.right]
        )
        return dataclasses.replace(
            totals, clips=int(clips), clips_left_out=int(left_out), loss=loss, right=int(right)
        )

    def end_epoch(self, epoch: int) -> None:
        """Close the bar, log a summary of the epoch, and warn once if data loading is slow."""
        self.close()
        totals, values = self.epoch_totals, self.epoch_totals.means()
        if not totals.steps:
            return
        duration = timedelta(seconds=round(totals.seconds))
        logger.info(
            f"epoch {epoch + 1} done: loss {values['loss']:.4f}, top-1 {values['top1']:.1f} %, "
            f"{totals.clips} clips in {duration}, {values['clips_per_second']:.1f} clips/s"
        )
        if self._metrics is not None:
            record = {f"epoch/{name}": values[name] for name in ("loss", "top1", "clips_per_second")}
            record |= {"epoch/seconds": totals.seconds, "epoch/data_seconds": totals.data_seconds}
            step = self._extra_steps + (epoch + 1) * self._steps_per_epoch
            self._metrics.write(step, epoch + 1, record)
        is_bound = totals.data_seconds > max(_DATA_BOUND * totals.seconds, _LEAST_WAITED)
        if is_bound and self._ranks.is_main and not self._has_warned:
            self._has_warned = True
            logger.warning(
                f"Data loading is the bottleneck: {totals.data_seconds:.0f} of {totals.seconds:.0f} s of "
                f"this epoch ({values['data_time_percent']:.0f} %) were spent waiting for clips. More "
                "DATA_LOADER.NUM_WORKERS or smaller videos help: tsn-tsm-benchmark --loader RECIPE. Later "
                "epochs do not repeat this."
            )

    def close(self) -> None:
        """Remove the bar from the terminal."""
        self._bar.close()


def with_bar(items: Iterable[_Item], label: str, *, total: int, shown: bool) -> Iterator[_Item]:
    """Yield the items and show a progress bar."""
    yield from _bar(label, items, total=total, shown=shown)


def _bar(label: str, items: Iterable[Any] | None = None, *, shown: bool, **counts: int) -> tqdm:
    # None: show a bar in terminals only.
    disable = None if shown else True
    return tqdm(items, desc=label, dynamic_ncols=True, leave=False, disable=disable, **counts)


class LapTimer:
    """Measures the seconds since its creation or the last reading."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last reading."""
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        return seconds
