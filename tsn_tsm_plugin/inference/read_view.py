"""One view of a video, as the recipe of a trained network samples and scales it.

Axes: C channels, T frames, H rows, W columns.
"""

from typing import NamedTuple

from torch import Tensor

from tsn_tsm_plugin.data.build import short_side_of_decoder
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.inference.sliding_windows import frame_transform
from tsn_tsm_plugin.inference.trained_model import TrainedModel
from tsn_tsm_plugin.transforms.build import build_index_sampler, frames_of_view


class View(NamedTuple):
    """The frames that a network is given, and where in the video they lie.

    Attributes:
        clip: uint8 (3, T, H, W), the centre crop of ``DATA.TEST_CROP_SIZE``.
        indices: T frame numbers.
        num_frames: Of the whole video.
        fps: Of the video; 0 where the file tells none.
    """

    clip: Tensor
    indices: list[int]
    num_frames: int
    fps: float


def read_view(trained: TrainedModel, path: str, *, split: str) -> View:
    """Read the view in the middle of those that the recipe takes of a video.

    Args:
        trained: Whose recipe counts.
        path: The video.
        split: ``"val"``: ``DATA.NUM_FRAMES`` frames; ``"test"``: ``TEST.NUM_FRAMES``, where it is set.

    Raises:
        VideoError: If the video cannot be read.
    """
    cfg = trained.cfg
    short_side = short_side_of_decoder(cfg, split)
    with VideoReader(path, cfg.DATA.DECODING_BACKEND, short_side=short_side) as reader:
        views = build_index_sampler(cfg, split)(reader.num_frames, None).view(-1, frames_of_view(cfg, split))
        indices = views[(len(views) - 1) // 2].tolist()
        frames_TCHW = reader.read(indices)
        length, fps = reader.num_frames, reader.fps or 0.0
    clip_CTHW = frame_transform(trained)(frames_TCHW.transpose(0, 1)).contiguous()
    return View(clip_CTHW, indices, length, fps)
