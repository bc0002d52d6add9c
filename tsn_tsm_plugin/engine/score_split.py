"""Predictor and SplitScorer: predictions for every video of a split, on any number of ranks.

Axes: B videos, V views, K classes, C channels, T frames of a view, H rows, W columns.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.data.build import build_loader
from tsn_tsm_plugin.data.loader_watch import watched_batches
from tsn_tsm_plugin.engine.bad_videos import BadVideos
from tsn_tsm_plugin.engine.device import batches_on
from tsn_tsm_plugin.engine.interruption import EvaluationStopped, StopRequested, never
from tsn_tsm_plugin.errors import LoaderError, VideoError
from tsn_tsm_plugin.evaluation import Predictions, average_views, gather_predictions, split_views
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.ranks import Ranks
from tsn_tsm_plugin.runs.partial_scores import PartialScores, Scored
from tsn_tsm_plugin.runs.progress import with_bar
from tsn_tsm_plugin.transforms.build import build_normalize, frames_of_view

logger = get_logger(__name__)

# Entries of a batch that are kept with its logits.
_KEPT = ("video_index", "video_name", "label")
_BATCHES_PER_TRANSFER = 16


class Predictor:
    """Scores batches of videos, a bounded number of frames at a time.

    Args:
        model: Maps (B, 3, T, H, W) float to (B, K) logits; put into eval mode.
        normalize: Maps uint8 to float.
        num_frames: Frames of one view, T.
        view_average: ``"features"``, ``"logits"`` or ``"probabilities"``.
        max_frames_per_forward: Frames per forward pass, at least one view; 0: no limit.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        normalize: nn.Module,
        num_frames: int,
        view_average: str,
        max_frames_per_forward: int = 0,
    ) -> None:
        self._model = model.eval()
        self.device = next(model.parameters()).device
        self._normalize = normalize.to(self.device)
        self._num_frames = num_frames
        self.view_average = view_average
        self._max_frames = max_frames_per_forward

    @torch.inference_mode()
    def view_logits(self, video: Tensor) -> Tensor:
        """Return the logits (B, V, K) of videos (B, C, V * T, H, W) uint8, on the model's device."""
        views = split_views(video, num_frames=self._num_frames)
        num_parts = 1
        if self._max_frames:
            views_per_part = max(1, self._max_frames // self._num_frames)
            num_parts = -(-len(views) // views_per_part)
        logits = torch.cat([self._score(part) for part in views.tensor_split(num_parts)])
        return logits.unflatten(0, (len(video), -1))

    def predictions(self, batch: dict[str, Any], logits_BVK: Tensor) -> Predictions:
        """Return the predictions of a batch from its logits on the CPU."""
        return Predictions(
            video_index=batch["video_index"],
            video_name=batch["video_name"],
            label=batch["label"],
            scores=average_views(logits_BVK, how=self.view_average),
            view_logits=logits_BVK,
        )

    def __call__(self, batch: dict[str, Any]) -> Predictions:
        """Score a batch of at least one video, (B, C, V * T, H, W) uint8; the result is on the CPU."""
        return self.predictions(batch, self.view_logits(batch["video"]).cpu())

    def _score(self, views: Tensor) -> Tensor:
        return self._model(self._normalize(views.to(self.device, non_blocking=True))).float()


def resolve_view_average(cfg: CfgNode, model: nn.Module) -> str:
    """Return the average over views: ``TEST.VIEW_AVERAGE``, or the default of the model."""
    if cfg.DATA.MULTI_LABEL:
        return "sigmoids"
    return str(model.view_average) if cfg.TEST.VIEW_AVERAGE == "auto" else cfg.TEST.VIEW_AVERAGE


class SplitScorer:
    """Predicts every video of a split.

    Args:
        cfg: The recipe.
        model: Network of the recipe, for its average over views.
        split: ``"val"`` or ``"test"``.
        ranks: Ranks that divide the videos; all of them call this object.

    Attributes:
        view_average: See :class:`Predictor`.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module, split: str, ranks: Ranks) -> None:
        self.view_average = resolve_view_average(cfg, model)
        self._split = split
        self._ranks = ranks
        self._max_bad_videos = cfg.DATA.MAX_BAD_VIDEOS
        self._max_wait_seconds = cfg.DATA_LOADER.MAX_WAIT_SECONDS
        self._create_loader = functools.partial(
            build_loader, cfg, split, world_size=ranks.world_size, rank=ranks.rank
        )
        self._create_predictor = functools.partial(
            Predictor,
            normalize=build_normalize(cfg),
            num_frames=frames_of_view(cfg, split),
            view_average=self.view_average,
            max_frames_per_forward=cfg.TEST.MAX_FRAMES_PER_FORWARD,
        )

    def __call__(
        self,
        model: nn.Module,
        *,
        bad_videos_file: Path,
        stop_requested: StopRequested = never,
        partial: PartialScores | None = None,
    ) -> tuple[Predictions, int]:
        """Predict the split.

        Args:
            model: Network on its device, without a wrapper; left in eval mode.
            bad_videos_file: File that lists unreadable videos.
            stop_requested: Polled between batches.
            partial: Files of this rank's scores, to continue from and to write; ``None``: no files.

        Returns:
            The predictions of all ranks, on every rank, and the number of unreadable videos.

        Raises:
            EvaluationStopped: If a stop was requested on any rank.
            VideoError: If too many videos, or all videos, are unreadable.
            LoaderError: If no batch comes on a rank.
        """
        scored = partial.read() if partial is not None else Scored()
        collected = _Collected(self._create_predictor(model), scored)
        is_stopped, failure = False, ""
        try:
            for batch in self._batches(collected.predictor.device, start_batch=scored.num_batches):
                collected.add(batch)
                is_stopped = stop_requested()
                if partial is not None and (is_stopped or partial.is_due()):
                    partial.write(collected.read())
                if is_stopped or len(scored.bad_videos) > self._max_bad_videos:
                    break  # The other ranks learn this at the next exchange.
        except LoaderError as error:
            failure = str(error)
        outcomes = self._ranks.gather((is_stopped, failure))
        if any(failure for _, failure in outcomes):
            raise LoaderError(next(failure for _, failure in outcomes if failure))
        if any(is_stopped for is_stopped, _ in outcomes):
            raise EvaluationStopped(
                f"The evaluation of {self._split!r} was stopped on request; no results were written."
            )
        bad_videos = BadVideos(bad_videos_file if self._ranks.is_main else None, bound=self._max_bad_videos)
        bad_videos.add(video for part in self._ranks.gather(scored.bad_videos) for video in part)
        predictions = gather_predictions(collected.read().predictions)
        if predictions is None:
            raise VideoError(
                f"None of the videos of split {self._split!r} could be read; see {bad_videos_file}."
            )
        _warn_of_nan(predictions, self._split)
        return predictions, bad_videos.count

    def _batches(self, device: torch.device, *, start_batch: int) -> Iterator[dict[str, Any]]:
        loader = self._create_loader()
        if start_batch:
            loader.batch_sampler.set_epoch(0, start_batch=start_batch)  # type: ignore[union-attr]
        watched = watched_batches(loader, max_wait_seconds=self._max_wait_seconds)
        on_device = batches_on(device, watched, names=("video",))
        return with_bar(on_device, self._split, total=len(loader) - start_batch, shown=self._ranks.is_main)


def _warn_of_nan(predictions: Predictions, split: str) -> None:
    strange = predictions.scores.isnan().any(dim=1).nonzero()[:, 0].tolist()
    if strange:
        names = ", ".join(predictions.video_name[index] for index in strange[:3])
        logger.warning(
            f"{len(strange)} of {len(predictions)} videos of {split!r} have scores that are not numbers "
            f"({names}): they count as wrong. The network overflows; most likely its training diverged."
        )


class _Collected:
    """Logits of batches, copied from the device in groups, because each copy waits for the device."""

    def __init__(self, predictor: Predictor, scored: Scored) -> None:
        self.predictor = predictor
        self._scored = scored
        self._waiting: list[tuple[dict[str, Any], Tensor]] = []

    def add(self, batch: dict[str, Any]) -> None:
        self._scored.num_batches += 1
        self._scored.bad_videos += batch["bad_videos"]
        if not batch["video_name"]:
            return
        logits_BVK = self.predictor.view_logits(batch["video"])
        self._waiting.append(({name: batch[name] for name in _KEPT}, logits_BVK))
        if len(self._waiting) == _BATCHES_PER_TRANSFER:
            self._move()

    def read(self) -> Scored:
        self._move()
        return self._scored

    def _move(self) -> None:
        if self._waiting:
            logits = torch.cat([logits_BVK for _, logits_BVK in self._waiting]).cpu()
            parts = logits.split([len(logits_BVK) for _, logits_BVK in self._waiting])
            for (batch, _), part in zip(self._waiting, parts, strict=True):
                self._scored.predictions.append(self.predictor.predictions(batch, part))
            self._waiting = []
