"""The causal shift for frames that come one after the other.

Axes: B streams, C channels, F channels of a fold, H rows, W columns.
Source: Lin, Gan, Han, "TSM", ICCV 2019, arXiv:1811.08383, figure 1 (c) and section 4.3 (online models).
"""

from typing import Any

import torch
from torch import Tensor, nn


class StreamingShift(nn.Module):
    """Show the wrapped module the first fold of the previous frame and the rest of the current one.

    Frame by frame this is what ``TemporalShift(net, causal=True)`` computes on a whole clip. Only the fold
    that the next frame will need is kept, in its own memory; before the first frame it reads as zero.

    Args:
        net: What sees the shifted features.
        shift_div: A fold is ``C // shift_div`` channels.

    Attributes:
        previous: (B, F, H, W), the first fold of the features of the last frame; ``None`` before the first.
    """

    previous: Tensor | None

    def __init__(self, net: nn.Module, *, shift_div: int) -> None:
        super().__init__()
        self.net = net
        self.shift_div = shift_div
        self.register_buffer("previous", None)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Map the features (B, C, H, W) of one frame to what ``net`` makes of them and of the last frame."""
        num_channels = x_BCHW.shape[1]
        fold = num_channels // self.shift_div
        first = x_BCHW.narrow(1, 0, fold)
        previous = torch.zeros_like(first) if self.previous is None else self.previous
        if previous.shape != first.shape:
            raise ValueError(
                "The frames must keep their number and size within a stream: its state has shape "
                f"{tuple(previous.shape)}, these frames need {tuple(first.shape)}. Call reset() before "
                "the change."
            )
        # A slice would keep all channels alive.
        self.previous = current = first.clone()
        if not _may_borrow(x_BCHW):
            return self.net(torch.cat([previous, x_BCHW.narrow(1, fold, num_channels - fold)], 1))
        # Lend the fold to the last frame: a copy of all channels would cost a CPU a sixth of its time for a
        # ResNet-50, this one twenty-fifth.
        try:
            first.copy_(previous)
            out: Tensor = self.net(x_BCHW)
            shares_memory = out.untyped_storage().data_ptr() == x_BCHW.untyped_storage().data_ptr()
            return out.clone() if shares_memory else out
        finally:
            first.copy_(current)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The size of the frames is known from the saved state, not from this module.
        saved = state_dict.get(f"{prefix}previous")
        device = next((parameter.device for parameter in self.net.parameters()), None)
        self.previous = None if saved is None else torch.empty_like(saved, device=device)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Name the settings of the shift."""
        return f"shift_div={self.shift_div}"


def _may_borrow(x: Tensor) -> bool:
    """Return whether x may be changed for a moment: eagerly, on a CPU, and with nobody who would notice."""
    is_frozen = x.is_inference() and not torch.is_inference_mode_enabled()
    is_recorded = torch.is_grad_enabled() or torch.compiler.is_compiling()
    return x.device.type == "cpu" and not is_frozen and not is_recorded
