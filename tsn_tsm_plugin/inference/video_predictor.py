"""VideoPredictor, VideoPrediction, find_videos: classify videos with the views of the recipe.

Axes: B videos, V views, T frames of a view, K classes.
"""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.data.frame_folder import frame_folders_below
from tsn_tsm_plugin.data.video_files import videos_below
from tsn_tsm_plugin.engine.score_split import Predictor, resolve_view_average
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.evaluation import average_views
from tsn_tsm_plugin.inference.preprocessing import Preprocessing
from tsn_tsm_plugin.paths import is_url
from tsn_tsm_plugin.safe_text import html_text

_MAX_FRAMES = 64
_SHOWN = 5


def top_classes(probabilities: Tensor, names: Sequence[str], count: int) -> list[tuple[str, float]]:
    """Return the ``count`` most likely classes of (K,) with their probabilities, in descending order."""
    values, indices = probabilities.topk(min(count, len(probabilities)))
    return [(names[i], p) for i, p in zip(indices.tolist(), values.tolist(), strict=True)]


@dataclass(frozen=True, repr=False)
class VideoPrediction:
    """Prediction of a network for a video.

    Attributes:
        path: Path of the video.
        probabilities: (K,), with sum 1 for single-label networks; empty for an unreadable video.
        error: Reason why the video could not be read; empty otherwise.
        class_names: Names of the K classes.
    """

    path: str
    probabilities: Tensor
    error: str = ""
    class_names: Sequence[str] = ()

    @property
    def label(self) -> str:
        """The top-1 class; empty for an unreadable video."""
        return "" if self.error else self.top(1)[0][0]

    def top(self, count: int = _SHOWN) -> list[tuple[str, float]]:
        """Return the ``count`` most likely classes with their probabilities, in descending order."""
        names = self.class_names or [str(label) for label in range(len(self.probabilities))]
        return [] if self.error else top_classes(self.probabilities, names, count)

    def __repr__(self) -> str:
        if self.error:
            return f"{self.path}: not read ({self.error.removeprefix(f'{self.path}: ')})"
        return f"{self.path}: " + ", ".join(f"{name} {100 * p:.1f} %" for name, p in self.top())

    def _repr_html_(self) -> str:
        return Predictions([self])._repr_html_()


class Predictions(list[VideoPrediction]):
    """Predictions of several videos; a notebook shows them as a table."""

    def __repr__(self) -> str:
        return "\n".join(map(repr, self))

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html_text(prediction.path)}</td><td>{_html_cell(prediction)}</td></tr>"
            for prediction in self
        )
        return f"<table><tr><th>video</th><th>classes</th></tr>{rows}</table>"


def _html_cell(prediction: VideoPrediction) -> str:
    if prediction.error:
        return html_text(f"not read: {prediction.error}")
    return "<br>".join(
        f'<meter value="{p:.4f}"></meter> {html_text(name)} {100 * p:.1f} %' for name, p in prediction.top()
    )


def find_videos(names: Sequence[str]) -> list[str]:
    """Return each video of the given files, URLs, folders (searched recursively) and patterns once.

    If a folder has no videos, it and its subfolders are searched for folders of frames.

    Raises:
        VideoError: If a name matches no video.
    """
    found: list[str] = []
    for name in names:
        if is_url(name):
            files = [name]
        elif Path(name).is_dir():
            files = sorted(map(str, videos_below(Path(name)))) or frame_folders_below(Path(name))
        elif os.path.lexists(name):  # Reading a broken link reports its name.
            files = [name]
        else:
            # Path.glob does not accept absolute patterns.
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207
            files = [
                file
                for match in map(Path, matches)
                for file in (frame_folders_below(match) if match.is_dir() else [str(match)])
            ]
        if not files:
            raise VideoError(
                f"{name}: no video there. Give files, folders of videos or of frames, or patterns such as "
                "'clips/*.mp4'."
            )
        found += files
    return list(dict.fromkeys(found))


class VideoPredictor:
    """Predict videos one by one or in batches.

    Args:
        model: Module in eval mode, (B, 3, T, H, W) float -> (B, K) logits.
        cfg: The recipe, for the average over views.
        preprocessing: Preprocessing of the same recipe.
        class_names: Names of the K classes.
    """

    def __init__(
        self, model: nn.Module, cfg: CfgNode, preprocessing: Preprocessing, class_names: Sequence[str]
    ) -> None:
        self._preprocessing = preprocessing
        self._class_names = class_names
        self._is_multi_label = cfg.DATA.MULTI_LABEL
        self._view_average = resolve_view_average(cfg, model)
        self._predictor = Predictor(
            model,
            normalize=preprocessing.normalize,
            num_frames=preprocessing.num_frames,
            view_average=self._view_average,
            max_frames_per_forward=cfg.TEST.MAX_FRAMES_PER_FORWARD or _MAX_FRAMES,
        )

    def __call__(self, path: str) -> VideoPrediction:
        """Return the prediction, or the reason why the video could not be read."""
        return next(self.predict([path]))

    def predict(self, paths: Iterable[str], *, batch_size: int = 1) -> Iterator[VideoPrediction]:
        """Yield the prediction of each video in order; unreadable videos have an ``error``.

        Args:
            paths: Paths or URLs of the videos.
            batch_size: Videos that go through the network together.
        """
        remaining = iter(paths)
        while batch := list(islice(remaining, batch_size)):
            yield from self._predict_batch(batch)

    def _predict_batch(self, paths: Sequence[str]) -> Iterator[VideoPrediction]:
        views: list[Tensor] = []
        errors: dict[int, str] = {}
        for index, path in enumerate(paths):
            try:
                views.append(self._preprocessing.read_views(path))
            except VideoError as error:
                errors[index] = str(error)
        scores = iter(self._probabilities(torch.stack(views)) if views else ())
        for index, path in enumerate(paths):
            error_text = errors.get(index, "")
            probabilities = torch.empty(0) if error_text else next(scores)
            yield VideoPrediction(path, probabilities, error_text, self._class_names)

    def _probabilities(self, views: Tensor) -> Tensor:
        """Map uint8 (B, 3, V * T, H, W) to (B, K)."""
        scores_BK = average_views(self._predictor.view_logits(views).cpu(), how=self._view_average)
        if self._view_average not in ("features", "logits"):
            return scores_BK
        return scores_BK.sigmoid() if self._is_multi_label else scores_BK.softmax(-1)
