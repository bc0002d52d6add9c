"""MODALITIES, Modality: inputs of a network (rgb, flow, rgb_diff) and their numbers of channels.

Sources: Simonyan and Zisserman, "Two-Stream Convolutional Networks", arXiv:1406.2199; Wang et al., "Temporal
Segment Networks", arXiv:1608.00859, section 3.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tsn_tsm_plugin.transforms.normalize import Normalize


@dataclass(frozen=True)
class Modality:
    """One kind of input.

    Attributes:
        name: ``"rgb"``, ``"flow"`` or ``"rgb_diff"``.
        num_stacked: Consecutive frames of a segment.
        frame_channels: Channels of one frame.
        num_channels: Input channels of the network per segment.
        channel_names: Names of the channels of a frame, in the order of mean and deviation.
    """

    name: str
    num_stacked: int
    frame_channels: int
    num_channels: int
    channel_names: tuple[str, ...]

    @property
    def is_flow(self) -> bool:
        """Whether channels are horizontal and vertical displacements."""
        return self.name == "flow"

    def normalize(self, mean: Sequence[float], std: Sequence[float], *, to_bgr: bool = False) -> nn.Module:
        """Return the normalisation of stacks of uint8 frames.

        Args:
            mean: Mean of each channel of a frame, in 0-255; unused for differences.
            std: Standard deviation of each channel, in 0-255.
            to_bgr: Reverse the channels of each RGB frame afterwards.
        """
        if self.name == "rgb_diff":
            return NormalizeDifferences(std, to_bgr=to_bgr)
        return Normalize(list(mean) * self.num_stacked, list(std) * self.num_stacked, to_bgr=to_bgr)


MODALITIES = {
    "rgb": Modality("rgb", 1, 3, 3, ("R", "G", "B")),
    "flow": Modality("flow", 5, 2, 10, ("x", "y")),
    "rgb_diff": Modality("rgb_diff", 6, 3, 15, ("R", "G", "B")),
}


def to_picture(video: Tensor) -> Tensor:
    """Return stacks (C, ...) uint8 as a picture: the first frame, or x and y as red and green."""
    if video.shape[0] % 3 == 0:
        return video[:3]
    return torch.cat([video[:2], torch.full_like(video[:1], 128)])


class NormalizeDifferences(nn.Module):
    """Subtract each stacked frame from the next and divide by the deviation.

    Example:
        >>> frames = torch.tensor([10, 20, 30, 13, 20, 26], dtype=torch.uint8).reshape(1, 6, 1, 1, 1)
        >>> NormalizeDifferences([1.0, 1.0, 2.0])(frames).flatten().tolist()
        [3.0, 0.0, -2.0]

    Args:
        std: Standard deviation of R, G and B, in 0-255.
        to_bgr: Reverse the channels of each difference afterwards.
    """

    std: Tensor

    def __init__(self, std: Sequence[float], *, to_bgr: bool = False) -> None:
        super().__init__()
        self.to_bgr = to_bgr
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32), persistent=False)

    def forward(self, video: Tensor) -> Tensor:
        """Map stacks (B, 3 * L, T, H, W) in 0-255 to differences (B, 3 * (L - 1), T, H, W), float32."""
        frames_BLCTHW = video.float().unflatten(1, (-1, len(self.std)))
        differences = frames_BLCTHW[:, 1:] - frames_BLCTHW[:, :-1]
        differences = differences / self.std[:, None, None, None]
        return (differences.flip(2) if self.to_bgr else differences).flatten(1, 2)

    def extra_repr(self) -> str:
        """Name the settings in the module's repr."""
        return f"std={self.std.tolist()}" + (", to_bgr=True" if self.to_bgr else "")
