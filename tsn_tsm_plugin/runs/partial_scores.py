"""Scored, PartialScores: the scores of a rank so far, in memory and in files that a later start reads.

A chain of files holds all batches of a rank from the first. The name of each file has its first batch.
"""

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tsn_tsm_plugin.atomic_files import write_atomically
from tsn_tsm_plugin.checkpoints.torch_file import read_torch_file
from tsn_tsm_plugin.data.collate import BadVideo
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.evaluation import Predictions
from tsn_tsm_plugin.log import get_logger, warn_on_failure

logger = get_logger(__name__)


@dataclass
class Scored:
    """Scores of one rank.

    Attributes:
        num_batches: Batches, including empty batches.
        predictions: Predictions of the batches with readable videos.
        bad_videos: Unreadable videos.
    """

    num_batches: int = 0
    predictions: list[Predictions] = field(default_factory=list)
    bad_videos: list[BadVideo] = field(default_factory=list)

    @property
    def num_videos(self) -> int:
        """Number of readable videos."""
        return sum(map(len, self.predictions))


class PartialScores:
    """Files with the scores of one rank, from which an interrupted evaluation continues.

    Args:
        folder: Folder of one evaluation, named by weights, settings, list and number of ranks.
        rank: This rank.
        minutes: Minutes between two files; 0: write no files.

    Attributes:
        num_read: Videos that :meth:`read` found.
    """

    def __init__(self, folder: Path, *, rank: int, minutes: float) -> None:
        self.num_read = 0
        self._folder = folder
        self._rank_folder = folder / f"rank_{rank}"
        self._seconds = 60.0 * minutes
        self._num_written = 0, 0, 0  # Batches, predictions and unreadable videos.
        self._written_at = time.monotonic()

    def read(self) -> Scored:
        """Return the batches that an earlier start has written; a damaged file ends the chain."""
        found = Scored()
        while (path := self._path(found.num_batches)).exists():
            try:
                _extend(found, read_torch_file(path))
            except (CheckpointError, KeyError, TypeError, ValueError) as error:
                logger.warning(f"{path} is damaged: score its videos again ({error}).")
                break
        if found.num_batches:
            logger.info(f"Going on after {found.num_videos} videos that are scored already: {self._folder}.")
        self.num_read = found.num_videos
        self._note(found)
        return found

    def is_due(self) -> bool:
        """Return whether it is time to write."""
        return bool(self._seconds) and time.monotonic() - self._written_at >= self._seconds

    def write(self, scored: Scored) -> None:
        """Write the batches since the last file, atomically; warn about a full disk.

        Args:
            scored: All batches so far.
        """
        num_batches, num_predictions, num_bad = self._num_written
        path = self._path(num_batches)
        self._written_at = time.monotonic()
        if not self._seconds or scored.num_batches == num_batches:
            return
        content = {
            "num_batches": scored.num_batches - num_batches,
            "predictions": [vars(batch) for batch in scored.predictions[num_predictions:]],
            "bad_videos": [tuple(video) for video in scored.bad_videos[num_bad:]],
        }
        with warn_on_failure(path):
            self._rank_folder.mkdir(parents=True, exist_ok=True)
            with write_atomically(path, binary=True) as file:
                torch.save(content, file)
            self._note(scored)

    def remove(self) -> None:
        """Remove the files of all ranks, because the results are complete."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, first_batch: int) -> Path:
        return self._rank_folder / f"batch_{first_batch:08d}.pt"

    def _note(self, scored: Scored) -> None:
        self._num_written = scored.num_batches, len(scored.predictions), len(scored.bad_videos)


def _extend(found: Scored, content: dict[str, Any]) -> None:
    predictions = [Predictions(**batch) for batch in content["predictions"]]
    bad_videos = [BadVideo(*video) for video in content["bad_videos"]]
    if content["num_batches"] < 1:
        raise ValueError("no batches")
    found.num_batches += content["num_batches"]
    found.predictions += predictions
    found.bad_videos += bad_videos
