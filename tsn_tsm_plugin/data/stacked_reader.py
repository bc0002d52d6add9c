"""StackedReader, open_stacked: read several consecutive frames as the channels of one frame."""

from typing import Any

import torch
from torch import Tensor

from tsn_tsm_plugin.data.video_dataset import FrameReader, OpenVideo


class StackedReader:
    """Read stacks: index ``i`` has the frames ``i`` to ``i + length - 1``, concatenated along the channels.

    A video that is shorter than a stack repeats its last frame, as in the references.

    Args:
        reader: Reader of single frames.
        length: Number of frames of a stack.
    """

    def __init__(self, reader: FrameReader, length: int) -> None:
        self.reader = reader
        self.length = length

    @property
    def num_frames(self) -> int:
        """Number of stacks."""
        return max(1, self.reader.num_frames - self.length + 1)

    @property
    def fps(self) -> float:
        """Stacks per second; 0.0 if unknown."""
        return float(getattr(self.reader, "fps", 0.0))

    def read(self, indices: Tensor) -> Tensor:
        """Return the stacks at ``indices``, uint8 (T, length * C, H, W)."""
        steps = torch.as_tensor(indices)[:, None] + torch.arange(self.length)
        frames = self.reader.read(steps.clamp(max=self.reader.num_frames - 1).flatten())
        return frames.unflatten(0, (-1, self.length)).flatten(1, 2)

    def close(self) -> None:
        """Close the video."""
        self.reader.close()


def open_stacked(entry: Any, *, open_video: OpenVideo, length: int) -> StackedReader:
    """Open a video for reading in stacks."""
    return StackedReader(open_video(entry), length)
