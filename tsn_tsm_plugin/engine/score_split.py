"""Predictions of a model for every video of a split, over any number of ranks.

Axes: B videos, V views, K classes, C channels, T frames of a view, H rows, W columns.
"""

from typing import Any

import torch
from torch import Tensor, nn

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.data.build import build_loader
from tsn_tsm_plugin.engine.bad_videos import BadVideos
from tsn_tsm_plugin.engine.interruption import EvaluationStopped, StopRequested, never
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.evaluation import Predictions, average_views, gather_predictions, split_views
from tsn_tsm_plugin.models import TSM, TSN
from tsn_tsm_plugin.ranks import Ranks
from tsn_tsm_plugin.runs.progress import with_bar
from tsn_tsm_plugin.runs.run_folder import RunFolder
from tsn_tsm_plugin.transforms.build import build_normalize, frames_of_view


class Predictor:
    """Scores batches of videos, a bounded number of frames at a time.

    Args:
        model: Maps (B, 3, T, H, W) float to (B, K) logits; put into eval mode.
        normalize: From uint8 to float.
        num_frames: Frames of one view, T.
        view_average: ``"features"``, ``"logits"`` or ``"probabilities"``.
        max_frames_per_forward: Frames that go through the model at once; at least one view does. 0: no limit.
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
        self._device = next(model.parameters()).device
        self._normalize = normalize.to(self._device)
        self._num_frames = num_frames
        self._view_average = view_average
        self._max_frames = max_frames_per_forward

    @torch.inference_mode()
    def __call__(self, batch: dict[str, Any]) -> Predictions:
        """Score a batch of at least one video, (B, C, V * T, H, W) uint8; the result is on the CPU."""
        views = split_views(batch["video"], num_frames=self._num_frames)
        num_parts = 1
        if self._max_frames:
            views_per_part = max(1, self._max_frames // self._num_frames)
            num_parts = -(-len(views) // views_per_part)
        logits = torch.cat([self._score(part) for part in views.tensor_split(num_parts)])
        logits_BVK = logits.unflatten(0, (len(batch["video"]), -1)).cpu()
        return Predictions(
            video_index=batch["video_index"],
            video_name=batch["video_name"],
            label=batch["label"],
            scores=average_views(logits_BVK, how=self._view_average),
            view_logits=logits_BVK,
        )

    def _score(self, views: Tensor) -> Tensor:
        return self._model(self._normalize(views.to(self._device, non_blocking=True))).float()


def view_average_of(cfg: CfgNode, model: nn.Module) -> str:
    """Return how views are averaged: ``TEST.VIEW_AVERAGE``, or what the method's reference does."""
    if cfg.DATA.MULTI_LABEL:
        return "sigmoids"
    return str(model.view_average) if cfg.TEST.VIEW_AVERAGE == "auto" else cfg.TEST.VIEW_AVERAGE


def run_model(
    cfg: CfgNode,
    model: TSN | TSM,
    split: str,
    folder: RunFolder,
    ranks: Ranks,
    *,
    stop_requested: StopRequested = never,
) -> tuple[Predictions, int]:
    """Predict every video of a split.

    Args:
        cfg: The recipe.
        model: On its device, without a wrapper; left in eval mode.
        split: ``"val"`` or ``"test"``.
        folder: Where unreadable videos are named.
        ranks: All of them call this.
        stop_requested: Polled between batches.

    Returns:
        The predictions of all ranks, on every rank, and how many videos were unreadable.

    Raises:
        EvaluationStopped: If a stop was requested on any rank.
        VideoError: If too many videos are unreadable, or all of them.
    """
    predictor = Predictor(
        model,
        normalize=build_normalize(cfg),
        num_frames=frames_of_view(cfg, split),
        view_average=view_average_of(cfg, model),
        max_frames_per_forward=cfg.TEST.MAX_FRAMES_PER_FORWARD,
    )
    loader = build_loader(cfg, split, world_size=ranks.world_size, rank=ranks.rank)
    batches: list[Predictions] = []
    bad: list[Any] = []
    is_stopped = False
    for batch in with_bar(loader, split, total=len(loader), shown=ranks.is_main):
        bad += batch["bad_videos"]
        if batch["video_name"]:
            batches.append(predictor(batch))
        is_stopped = stop_requested()
        if is_stopped or len(bad) > cfg.DATA.MAX_BAD_VIDEOS:
            break  # The others are told where all ranks meet.
    if any(ranks.gather(is_stopped)):
        raise EvaluationStopped(f"The evaluation of {split!r} was asked to stop; no results were written.")
    bad_videos = BadVideos(folder.bad_videos if ranks.is_main else None, bound=cfg.DATA.MAX_BAD_VIDEOS)
    bad_videos.add(video for part in ranks.gather(bad) for video in part)
    predictions = gather_predictions(batches)
    if predictions is None:
        raise VideoError(f"None of the videos of split {split!r} could be read; see {folder.bad_videos}.")
    return predictions, bad_videos.count
