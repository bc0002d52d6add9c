"""WithTemporalModule, frames_to_clips: a temporal module before or after a module of a 2D network.

Axes: B videos, C channels, T frames, H rows, W columns, L tokens; BT is videos times frames, video-major.
"""

from typing import Any

import torch
from torch import Tensor, nn


class WithTemporalModule(nn.Module):
    """Apply a module of a 2D network, and a temporal module to its input or output.

    Args:
        net: Module that takes (BT, C, H, W), (BT, H, W, C) or (BT, L, C).
        temporal: Module that maps clips (B, C, T, H, W) to the same shape; tokens get H = L and W = 1.
        name: Name of the temporal module, for messages.
        num_segments: T.
        channel_axis: 1 or -1, the axis of the channels.
        is_after: Apply ``temporal`` to the output of ``net``; otherwise to its input.
    """

    def __init__(
        self,
        net: nn.Module,
        temporal: nn.Module,
        *,
        name: str,
        num_segments: int,
        channel_axis: int = 1,
        is_after: bool = False,
    ) -> None:
        super().__init__()
        self.net = net
        self.temporal = temporal
        self.name = name
        self.num_segments = num_segments
        self.channel_axis = channel_axis
        self.is_after = is_after

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Map features of frames to features of ``net``; pass further arguments to ``net``."""
        if self.is_after:
            return self._mix(self.net(x, *args, **kwargs))
        return self.net(self._mix(x), *args, **kwargs)

    def _mix(self, x: Tensor) -> Tensor:
        clips_BCTHW = frames_to_clips(x, num_segments=self.num_segments, channel_axis=self.channel_axis)
        mixed_BCTHW = self.temporal(clips_BCTHW)
        if mixed_BCTHW.shape != clips_BCTHW.shape:
            raise ValueError(
                f"temporal_module {self.name!r} must keep the shape of its input, got "
                f"{tuple(mixed_BCTHW.shape)} from {tuple(clips_BCTHW.shape)}."
            )
        return clips_to_frames(mixed_BCTHW, like=x, channel_axis=self.channel_axis)

    def extra_repr(self) -> str:
        """Name the temporal module, its side and the number of frames."""
        side = "after" if self.is_after else "before"
        return f"{self.name} {side} net, num_segments={self.num_segments}, channel_axis={self.channel_axis}"


def frames_to_clips(x: Tensor, *, num_segments: int, channel_axis: int = 1) -> Tensor:
    """View (BT, C, H, W), (BT, H, W, C) or (BT, L, C) as (B, C, T, H, W); tokens get H = L and W = 1."""
    clips = x.unflatten(0, (-1, num_segments)).movedim(channel_axis if channel_axis < 0 else 2, 1)
    return clips if clips.ndim == 5 else clips.unsqueeze(-1)


def clips_to_frames(clips_BCTHW: Tensor, *, like: Tensor, channel_axis: int = 1) -> Tensor:
    """Invert :func:`frames_to_clips`, in the memory format of 2D networks.

    Args:
        clips_BCTHW: Output of :func:`frames_to_clips`.
        like: Input of :func:`frames_to_clips`.
        channel_axis: Argument ``channel_axis`` of :func:`frames_to_clips`.
    """
    if channel_axis == 1:
        frames = clips_BCTHW.transpose(1, 2).flatten(0, 1)
        return frames.contiguous(memory_format=torch.channels_last)
    return clips_BCTHW.movedim(1, -1).flatten(0, 1).reshape(like.shape)
