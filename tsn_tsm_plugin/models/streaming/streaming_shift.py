"""PerStream, StreamingShift: the causal shift on one frame at a time.

Axes: B streams, C channels, F channels of a fold, H rows, W columns.
Source: Lin, Gan, Han, "TSM", ICCV 2019, arXiv:1811.08383, figure 1 (c) and section 4.3 (online models).
"""

from typing import Any

import torch
from torch import Tensor, nn


class PerStream(nn.Module):
    """Buffers with a row per stream, created at the first frame; zero is the state of a new stream."""

    _names: tuple[str, ...]

    def __init__(self) -> None:
        super().__init__()
        for name in self._names:
            self.register_buffer(name, None)

    def reset(self, mask_B: Tensor | None = None) -> None:
        """Reset every stream, or the streams whose ``mask_B`` is true."""
        for name in self._names:
            value = getattr(self, name)
            if mask_B is None:
                setattr(self, name, None)
            elif value is not None:
                mask = mask_B.to(value.device).view(-1, *[1] * (value.ndim - 1))
                setattr(self, name, value.masked_fill(mask, 0))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The saved state defines the number of streams and the size of the frames.
        device = next((parameter.device for parameter in self.parameters()), None)
        for name in self._names:
            saved = state_dict.get(prefix + name)
            setattr(self, name, None if saved is None else torch.empty_like(saved, device=device))
        super()._load_from_state_dict(state_dict, prefix, *args)


class StreamingShift(PerStream):
    """Give the wrapped module the first fold of the previous frame and the rest of the current frame.

    The outputs equal ``TemporalShift(net, causal=True)`` on a whole clip. Only the fold that the next frame
    needs is kept, in separate memory. The fold is zero before the first frame.

    Args:
        net: Module that reads the shifted features.
        shift_div: A fold is ``C // shift_div`` channels.
        channel_axis: 1 for (B, C, H, W), -1 for (B, H, W, C) and tokens (B, L, C).
        num_tokens: Shift only this many first tokens; ``None`` shifts all.

    Attributes:
        previous: (B, F, H, W), (B, H, W, F) or (B, L, F): the first fold of the last frame's features;
            ``None`` before the first frame.
    """

    _names = ("previous",)
    previous: Tensor | None

    def __init__(
        self, net: nn.Module, *, shift_div: int, channel_axis: int = 1, num_tokens: int | None = None
    ) -> None:
        super().__init__()
        self.net = net
        self.shift_div = shift_div
        self.channel_axis = channel_axis
        self.num_tokens = num_tokens

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Map the features of one frame, shifted with the previous frame, through ``net``."""
        axis = self.channel_axis
        num_channels = x.shape[axis]
        fold = num_channels // self.shift_div
        first = x.narrow(axis, 0, fold)
        if self.num_tokens is not None:
            first = first[:, : self.num_tokens]
        previous = torch.zeros_like(first) if self.previous is None else self.previous
        if previous.shape != first.shape:
            raise ValueError(
                "The frames must keep their number and size within a stream: its state has shape "
                f"{tuple(previous.shape)}, these frames need {tuple(first.shape)}. Call reset() before "
                "the change."
            )
        # Copy: a slice would keep all channels in memory.
        self.previous = current = first.clone()
        if not _may_borrow(x):
            return self.net(self._replaced(x, previous, fold), *args, **kwargs)
        # Overwrite the fold in x temporarily, in 1/25 of a ResNet-50's time on a CPU. Copying all channels
        # would take 1/6.
        try:
            first.copy_(previous)
            out = self.net(x, *args, **kwargs)
            shares_memory = (
                isinstance(out, Tensor) and out.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
            )
            return out.clone() if shares_memory else out
        finally:
            first.copy_(current)

    def _replaced(self, x: Tensor, previous: Tensor, fold: int) -> Tensor:
        axis = self.channel_axis
        if self.num_tokens is not None:
            tokens, others = x[:, : self.num_tokens], x[:, self.num_tokens :]
            rest = tokens.narrow(axis, fold, x.shape[axis] - fold)
            return torch.cat([torch.cat([previous, rest], axis), others], 1)
        return torch.cat([previous, x.narrow(axis, fold, x.shape[axis] - fold)], axis)

    def extra_repr(self) -> str:
        """Return the settings of the shift."""
        return f"shift_div={self.shift_div}"


def _may_borrow(x: Tensor) -> bool:
    """Return whether x may be overwritten temporarily: on a CPU, eager, and without gradients."""
    is_frozen = x.is_inference() and not torch.is_inference_mode_enabled()
    is_recorded = torch.is_grad_enabled() or torch.compiler.is_compiling()
    return x.device.type == "cpu" and not is_frozen and not is_recorded
