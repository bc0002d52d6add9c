"""Preprocessing, View: turn a video file into the input of a trained network, by the network's recipe.

Axes: C channels, T frames of a view, V views, H rows, W columns.
"""

from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.data.build import reader_options
from tsn_tsm_plugin.data.frame_folder import (
    FlowFolderReader,
    FrameFolderReader,
    FrameNames,
    open_frame_folder,
)
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.data.video_dataset import StackedReader
from tsn_tsm_plugin.errors import ConfigError, VideoError
from tsn_tsm_plugin.paths import local_path
from tsn_tsm_plugin.transforms.build import (
    build_clip_transform,
    build_index_sampler,
    build_normalize,
    frames_of_view,
)
from tsn_tsm_plugin.transforms.modality import MODALITIES


class View(NamedTuple):
    """The frames that a network reads, and their positions in the video.

    Attributes:
        clip: uint8 (3, T, H, W), the centre crop of ``DATA.TEST_CROP_SIZE``.
        indices: T frame numbers.
        num_frames: Frames of the whole video.
        fps: Frames per second of the video; 0 if unknown.
    """

    clip: Tensor
    indices: list[int]
    num_frames: int
    fps: float


class Preprocessing:
    """Frames, size, crop and normalisation of a trained network, in one object.

    Args:
        cfg: The recipe.
        device: Device of the normalisation.

    Attributes:
        num_frames: T of a test view.
        num_segments: T of a training view, and of a sliding window.
        size: Side of the crops, in pixels.
        normalize: Module that maps uint8 (B, 3, T, H, W) to normalised floats on ``device``.
        frame_names: Usual names of frames in a folder.
    """

    def __init__(self, cfg: CfgNode, device: torch.device) -> None:
        self.num_frames = frames_of_view(cfg, "test")
        self.num_segments = cfg.DATA.NUM_FRAMES
        self.size = cfg.DATA.TEST_CROP_SIZE
        self.device = device
        self.normalize = build_normalize(cfg).to(device)
        self.frame_names = FrameNames(cfg.DATA.FRAME_TEMPLATE, cfg.DATA.FRAME_START_INDEX)
        self._cfg = cfg
        self._sampler = build_index_sampler(cfg, "test")
        self._transform = build_clip_transform(cfg, "test")
        self._center = build_clip_transform(cfg, "center")

    def __repr__(self) -> str:
        return f"Preprocessing({self.num_frames} frames, {self._transform!r}, {self.normalize!r})"

    def read_views(self, path: str) -> Tensor:
        """Return all test views of the recipe, uint8 (3, V * T, size, size).

        Args:
            path: A file, a folder of frames, or any URL that iopath can open.

        Raises:
            VideoError: If the video cannot be fetched or read.
        """
        with closing(self._open(path, "test")) as reader:
            frames_TCHW = reader.read(self._sampler(reader.num_frames, None))
        clip = self._transform({"video": frames_TCHW.permute(1, 0, 2, 3)}, None)
        views: Tensor = clip["video"]
        return views

    def read_view(self, path: str, *, split: str) -> View:
        """Return the middle view of the recipe's views of a video.

        Args:
            path: See `read_views`.
            split: ``"val"``: ``DATA.NUM_FRAMES`` frames; ``"test"``: ``TEST.NUM_FRAMES`` frames, if set.

        Raises:
            VideoError: If the video cannot be fetched or read.
        """
        with closing(self._open(path, split)) as reader:
            indices = build_index_sampler(self._cfg, split)(reader.num_frames, None)
            views = indices.view(-1, frames_of_view(self._cfg, split))
            middle = views[(len(views) - 1) // 2].tolist()
            frames_TCHW = reader.read(torch.tensor(middle))
            length, fps = reader.num_frames, reader.fps or 0.0
        clip_CTHW = self._crop_center(frames_TCHW.transpose(0, 1)).contiguous()
        return View(clip_CTHW, middle, length, fps)

    def prepare_frame(self, rgb_HWC: Tensor) -> Tensor:
        """Map a frame, uint8 (H, W, 3), to uint8 (3, size, size), in separate memory."""
        return self._crop_center(rgb_HWC.permute(2, 0, 1)[:, None])[:, 0].clone()

    def _crop_center(self, frames_CTHW: Tensor) -> Tensor:
        video: Tensor = self._center({"video": frames_CTHW})["video"]
        return video

    def _open(self, path: str, split: str) -> VideoReader | FrameFolderReader | StackedReader:
        modality = MODALITIES[self._cfg.DATA.MODALITY]
        if modality.is_flow:
            data = self._cfg.DATA
            if Path(path).is_file():
                raise VideoError(
                    f"{path}: must be a folder of flow images for this network, got a file. Make it "
                    "with tsn-tsm-prepare-dataset flow."
                )
            folder = FlowFolderReader(path, template=data.FRAME_TEMPLATE, start_index=data.FRAME_START_INDEX)
            return StackedReader(folder, modality.num_stacked)
        reader = self.open_frames(path, **reader_options(self._cfg, split))
        return reader if modality.num_stacked == 1 else StackedReader(reader, modality.num_stacked)

    def open_frames(self, path: str, **options: Any) -> VideoReader | FrameFolderReader:
        """Open a video, or a folder of frames, for reading RGB frames.

        Args:
            path: See `read_views`.
            options: Keyword arguments of `VideoReader`.

        Raises:
            VideoError: If the video cannot be fetched or opened.
        """
        try:
            file = local_path(path)
        except OSError as error:
            raise VideoError(str(error)) from error
        if Path(file).is_dir():
            return open_frame_folder(file, self.frame_names)
        return VideoReader(file, **options)


def check_takes_frames(cfg: CfgNode, task: str) -> None:
    """Check that a network takes single RGB frames.

    Raises:
        ConfigError: If the network takes flow or RGB differences; the message names ``task``.
    """
    if cfg.DATA.MODALITY != "rgb":
        raise ConfigError(
            f"{task} needs a network of RGB frames, but its recipe has DATA.MODALITY {cfg.DATA.MODALITY}. "
            "Predict whole videos with it, or take the RGB stream."
        )
