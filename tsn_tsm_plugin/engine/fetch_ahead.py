"""StepFeed: fetch the next batch and exchange its size between ranks during the current step."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch

from tsn_tsm_plugin.engine.device import DeviceCopies
from tsn_tsm_plugin.engine.interruption import StopRequested
from tsn_tsm_plugin.errors import LoaderError
from tsn_tsm_plugin.ranks import Ranks


@dataclass(frozen=True)
class Agreement:
    """Outcome of the ranks' exchange about a step."""

    num_clips: int
    is_a_rank_empty: bool
    is_a_video_bad: bool
    must_stop: bool
    must_save: bool


@dataclass(frozen=True)
class FetchedBatch:
    """A batch whose copy to the device has started.

    Attributes:
        batch: Batch of the loader, with tensors being copied to the device.
        data_seconds: Time spent waiting for the loader, in seconds.
        sums: The started exchange of the ranks.
    """

    batch: dict[str, Any]
    data_seconds: float
    sums: "Future[list[float]]"

    def agreement(self) -> Agreement:
        """Wait for the exchange and return its outcome, the same on every rank."""
        num_clips, *votes = self.sums.result()
        return Agreement(int(num_clips), *(vote > 0 for vote in votes))


class StepFeed:
    """Fetches the batch of each step in advance; all ranks call it at the same point.

    Args:
        ranks: Ranks, which take each step together.
        device: Target device of the batches.
        stop_requested: Polled with each batch. True on any rank stops all ranks before that step.
        checkpoint_minutes: Minutes between checkpoints within an epoch, by rank 0's clock; 0: none.
        checkpoint_steps: Steps between checkpoints; 0: none.

    Attributes:
        loader_failure: Reason why this rank's loader stopped; empty while it works.
    """

    def __init__(
        self,
        ranks: Ranks,
        *,
        device: torch.device,
        stop_requested: StopRequested,
        checkpoint_minutes: float = 0.0,
        checkpoint_steps: int = 0,
    ) -> None:
        self._ranks = ranks
        self._copies = DeviceCopies(device)
        self._stop_requested = stop_requested
        self._minutes, self._steps = checkpoint_minutes, checkpoint_steps
        self._asked_to_save_at = time.monotonic()
        self.loader_failure = ""

    def fetch(self, batches: Iterator[dict[str, Any]], *, step: int) -> FetchedBatch:
        """Fetch the batch of a step, and start its copy and exchange.

        Args:
            batches: Batches of this rank.
            step: Number of the step in the whole run, from 1.
        """
        begun = time.perf_counter()
        batch = self._next(batches)
        data_seconds = time.perf_counter() - begun
        num_clips = len(batch["video_name"])
        must_stop = self._stop_requested() or bool(self.loader_failure)
        flags = (num_clips == 0, bool(batch["bad_videos"]), must_stop, self._is_save_due(step))
        sums = self._ranks.start_sum([num_clips, *flags])
        return FetchedBatch(self._copies.start(batch), data_seconds, sums)

    def on_device(self, fetched: FetchedBatch) -> dict[str, Any]:
        """Return a batch for use on the device."""
        return self._copies.finish(fetched.batch)

    def note_saved(self) -> None:
        """Count the minutes to the next checkpoint from now."""
        self._asked_to_save_at = time.monotonic()

    def _next(self, batches: Iterator[dict[str, Any]]) -> dict[str, Any]:
        """Return the next batch, or an empty batch at the end."""
        try:
            return next(batches)
        except LoaderError as error:
            if not self._stop_requested():  # Otherwise the worker ended as requested.
                self.loader_failure = str(error)
        nothing = torch.empty(0)
        return {"video": nothing, "label": nothing, "video_name": [], "bad_videos": []}

    def _is_save_due(self, step: int) -> bool:
        # Clocks differ between ranks: use rank 0's.
        now = time.monotonic()
        is_timed = self._minutes > 0 and self._ranks.is_main
        is_time = is_timed and now - self._asked_to_save_at > 60 * self._minutes
        if is_time:
            self._asked_to_save_at = now
        return is_time or (self._steps > 0 and step % self._steps == 0)
