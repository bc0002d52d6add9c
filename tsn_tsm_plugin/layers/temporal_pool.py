"""TemporalPool, num_pooled_frames: halve the number of frames before a stage.

Axes: B videos, C channels, T frames, H rows, W columns; BT is videos times frames, video-major.
Source: the ``temporal_pool`` option of the TSM reference code, ``ops/temporal_shift.py``.
"""

from torch import Tensor, nn
from torch.nn import functional as F


def num_pooled_frames(num_frames: int) -> int:
    """Return how many frames :class:`TemporalPool` leaves of ``num_frames``: half, rounded up."""
    return (num_frames + 1) // 2


class TemporalPool(nn.Module):
    """Take the maximum over three frames at every second frame, then apply the wrapped module.

    The wrapped module is ``.net``, so that parameter names match the reference checkpoints.

    Args:
        net: Module on the pooled features.
        num_segments: Frames of a video before pooling.
    """

    def __init__(self, net: nn.Module, *, num_segments: int) -> None:
        super().__init__()
        if num_segments < 2:
            raise ValueError(f"num_segments must be at least 2 to be halved, got {num_segments}.")
        self.net = net
        self.num_segments = num_segments

    def forward(self, x_BTCHW: Tensor) -> Tensor:
        """Map (BT, C, H, W) to the output of ``net`` on (B * ceil(T / 2), C, H, W)."""
        clips_BCTHW = x_BTCHW.unflatten(0, (-1, self.num_segments)).transpose(1, 2)
        pooled_BCTHW = F.max_pool3d(clips_BCTHW, kernel_size=(3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0))
        return self.net(pooled_BCTHW.transpose(1, 2).flatten(0, 1))

    def extra_repr(self) -> str:
        """Name the number of frames before and after."""
        return f"num_segments={self.num_segments} -> {num_pooled_frames(self.num_segments)}"
