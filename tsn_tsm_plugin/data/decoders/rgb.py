"""Collecting decoded frames as one RGB tensor.

Axes: T frames, C channels, H rows, W columns.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from av import VideoFrame
from av.video.reformatter import VideoReformatter
from torch import Tensor

from tsn_tsm_plugin.data.decoders.container import MAX_FRAME_PIXELS
from tsn_tsm_plugin.errors import VideoError


class RgbCollector:
    """Converts frames with FFmpeg's software scaler, as ``frame.to_ndarray(format="rgb24")`` does.

    Args:
        path: The video, for messages.
        indices: Frames to collect, in any order, repeats allowed.
        reformatter: Keeps the scaler's tables from one read to the next.
    """

    def __init__(self, path: str, indices: Sequence[int], reformatter: VideoReformatter) -> None:
        self._path = path
        self._reformatter = reformatter
        self._places: defaultdict[int, list[int]] = defaultdict(list)
        for place, index in enumerate(indices):
            self._places[index].append(place)
        self._num_places = len(indices)
        self._num_missing = len(self._places)
        self._frames_THWC: np.ndarray | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every frame has come."""
        return self._num_missing == 0

    def offer(self, index: int, frame: VideoFrame) -> None:
        """Take the frame if it is wanted.

        Raises:
            VideoError: If its size is not that of the frames before it.
        """
        places = self._places.get(index)
        if places is None:
            return
        shape = (frame.height, frame.width, 3)
        if self._frames_THWC is None:
            if frame.height * frame.width > MAX_FRAME_PIXELS:
                raise VideoError(
                    f"{self._path}: frame {index} has {frame.width}x{frame.height} pixels: damaged."
                )
            self._frames_THWC = np.empty((self._num_places, *shape), np.uint8)
        elif self._frames_THWC.shape[1:] != shape:
            height, width = self._frames_THWC.shape[1:3]
            raise VideoError(
                f"{self._path}: frame {index} is {frame.width}x{frame.height}, others are {width}x{height}. "
                "Frames of one read must have one size: re-encode the video to one size."
            )
        # One thread: the scaler's own threads would not survive a fork.
        rgb_HWC = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        for place in places:
            self._frames_THWC[place] = rgb_HWC
        self._num_missing -= 1

    def tensor(self) -> Tensor:
        """Return uint8 RGB (T, C, H, W), stored as (T, H, W, C)."""
        assert self._frames_THWC is not None and self.is_complete
        return torch.from_numpy(self._frames_THWC).permute(0, 3, 1, 2)
