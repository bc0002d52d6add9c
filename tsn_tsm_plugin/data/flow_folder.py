"""FlowFolderReader: read the optical flow of a video, stored as two images per field."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tsn_tsm_plugin.config.frame_template import flow_templates
from tsn_tsm_plugin.data.frame_folder import FrameFolderReader


class FlowFolderReader:
    """Read the flow fields of one folder, or of its folders ``x`` and ``y``.

    Args:
        path: The folder, local or a URL that iopath can open.
        num_frames: Number of fields by the list; 0 counts the files.
        template: See :func:`flow_templates`.
        start_index: Number in the first field's names.

    Attributes:
        fps: Always 0.0, which means unknown.

    Raises:
        VideoError: If the folder is missing, or contains no fields to count.
        ValueError: If ``num_frames`` is 0 for a URL.
    """

    fps = 0.0

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        num_frames: int = 0,
        template: str = "flow_{}_{:05}.jpg",
        start_index: int = 1,
    ) -> None:
        self._axes = [
            FrameFolderReader(path, num_frames=num_frames, template=axis, start_index=start_index)
            for axis in flow_templates(template)
        ]
        self.path = self._axes[0].path
        self.num_frames = min(axis.num_frames for axis in self._axes)

    def read(self, indices: Sequence[int] | Tensor | np.ndarray) -> Tensor:
        """Decode the fields at ``indices``.

        Returns:
            uint8 (T, 2, H, W): x, then y, where 128 is no motion.

        Raises:
            IndexError: If an index is outside the video.
            VideoError: If an image is missing or damaged, or sizes differ; the message names the image.
        """
        return torch.stack([axis.read(indices)[:, 0] for axis in self._axes], dim=1)

    def close(self) -> None:
        """Do nothing: no file remains open between reads."""
