"""Classes of videos, with the views that the recipe tests with.

Axes: B videos, V views, K classes.
"""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tsn_tsm_plugin.data.build import short_side_of_decoder
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.engine.score_split import Predictor, view_average_of
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.inference.trained_model import TrainedModel
from tsn_tsm_plugin.transforms import Normalize
from tsn_tsm_plugin.transforms.build import build_clip_transform, build_index_sampler, frames_of_view

# What a folder is searched for; a file that is named may have any suffix.
_SUFFIXES = {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
_MAX_FRAMES = 64


@dataclass(frozen=True)
class VideoPrediction:
    """What a network says of a video.

    Attributes:
        path: The file.
        probabilities: (K,), with sum 1 where a video has one label; empty where it could not be read.
        error: Why it could not be read, or nothing.
    """

    path: str
    probabilities: Tensor
    error: str = ""


def find_videos(names: Sequence[str]) -> list[str]:
    """Return the videos that are meant by files, folders (searched below) and patterns, each once.

    Raises:
        VideoError: If a name means nothing.
    """
    found: list[str] = []
    for name in names:
        if Path(name).is_dir():
            below = [
                path
                for path in Path(name).rglob("*")
                # Hidden ones are of file managers, or were left unfinished.
                if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
            ]
            files = sorted(str(path) for path in below if path.is_file())
        elif Path(name).exists():
            files = [name]
        else:
            # Path.glob takes no absolute patterns.
            matches = glob.glob(name, recursive=True)  # noqa: PTH207
            files = sorted(file for file in matches if Path(file).is_file())
        if not files:
            raise VideoError(
                f"{name}: no video there. Give files, folders or patterns such as 'clips/*.mp4'."
            )
        found += files
    return list(dict.fromkeys(found))


class VideoPredictor:
    """Predicts one video after the other.

    Args:
        trained: The network; its recipe says which views are taken, how frames are scaled, and how views are
            averaged.
    """

    def __init__(self, trained: TrainedModel) -> None:
        cfg = trained.cfg
        self._trained = trained
        self._sampler = build_index_sampler(cfg, "test")
        self._transform = build_clip_transform(cfg, "test")
        self._decoder = cfg.DATA.DECODING_BACKEND
        self._short_side = short_side_of_decoder(cfg, "test")
        self._view_average = view_average_of(cfg, trained.model)
        self._predictor = Predictor(
            trained.model,
            normalize=Normalize(cfg.DATA.MEAN, cfg.DATA.STD),
            num_frames=frames_of_view(cfg, "test"),
            view_average=self._view_average,
            max_frames_per_forward=cfg.TEST.MAX_FRAMES_PER_FORWARD or _MAX_FRAMES,
        )

    def __call__(self, path: str) -> VideoPrediction:
        """Return the prediction, or why there is none."""
        try:
            with VideoReader(path, self._decoder, short_side=self._short_side) as reader:
                frames_TCHW = reader.read(self._sampler(reader.num_frames, None))
        except VideoError as error:
            return VideoPrediction(path, torch.empty(0), str(error))
        clip = self._transform({"video": frames_TCHW.permute(1, 0, 2, 3), "label": 0}, None)
        batch = {
            "video": clip["video"][None],
            "video_index": torch.zeros(1, dtype=torch.long),
            "video_name": [path],
            "label": torch.zeros(1, dtype=torch.long),
        }
        scores_K = self._predictor(batch).scores[0]
        if self._view_average in ("features", "logits"):
            scores_K = self._trained.probabilities(scores_K)
        return VideoPrediction(path, scores_K)
