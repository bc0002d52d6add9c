"""temporal_shift, TemporalShift: mix features of neighbouring frames in a 2D network at zero FLOPs.

Axes: B videos, C channels, T frames, H rows, W columns; BT is videos times frames, video-major.
Source: Lin, Gan, Han, "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019,
arXiv:1811.08383, figure 1 (b) and, for ``causal``, figure 1 (c).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any

import torch
from torch import Tensor, nn


def temporal_shift(
    x: Tensor,
    *,
    shift_div: int = 8,
    num_segments: int | None = None,
    causal: bool = False,
    channel_axis: int = 1,
) -> Tensor:
    """Shift one fold of the channels from the next frame and another from the previous frame.

    A fold is ``F = C // shift_div`` channels. For the input frame ``t``, the output holds::

        channels     [0, F)    [F, 2F)   [2F, C)
        default      t + 1     t - 1     t
        causal       t - 1     t         t

    A neighbour outside the clip reads as zero. The order of the folds follows the reference code and its
    checkpoints; the paper's figure has the reverse order.

    Example:
        >>> frames = torch.tensor([1, 2, 3, 4])  # value of each channel of each frame
        >>> x = frames.view(1, 1, 4, 1, 1).expand(1, 8, 4, 1, 1)
        >>> temporal_shift(x)[0, :3, :, 0, 0]
        tensor([[2, 3, 4, 0],
                [0, 1, 2, 3],
                [1, 2, 3, 4]])
        >>> temporal_shift(x, causal=True)[0, :2, :, 0, 0]
        tensor([[0, 1, 2, 3],
                [1, 2, 3, 4]])

    Args:
        x: Features of any dtype. With ``channel_axis=1``: (B, C, T, H, W), or (BT, C, H, W) with
            ``num_segments`` frames per video. With ``channel_axis=-1``: (BT, ..., C), such as tokens (BT, L,
            C) or a map (BT, H, W, C). The input is not modified.
        shift_div: Divisor in [2, C]; 8 shifts one eighth of the channels each way, as in the paper.
        num_segments: T. Only (B, C, T, H, W) does not need it.
        causal: Shift from the past only, as streams require.
        channel_axis: 1 or -1, the axis of the channels.

    Returns:
        A new tensor with the shape, dtype, device and memory format of the input.

    Raises:
        ValueError: If the shape does not fit ``num_segments`` or ``shift_div``.
    """
    num_frames = _check_num_frames(x, num_segments, channel_axis)
    num_channels = x.shape[channel_axis]
    if not 2 <= shift_div <= num_channels:
        raise ValueError(
            f"shift_div must be in [2, C={num_channels}], got {shift_div}: otherwise no channel or "
            f"every channel would be shifted."
        )
    fold = num_channels // shift_div
    # Frame offset from which each fold is read; the negated steps give the gradient.
    steps = (-1,) if causal else (1, -1)
    if channel_axis == -1:
        return _shift(x.unflatten(0, (-1, num_frames)), fold, steps, time=1, channel=x.ndim).flatten(0, 1)
    if x.ndim == 5:
        if x.is_contiguous(memory_format=torch.channels_last_3d):
            return _shift(x.permute(0, 2, 3, 4, 1), fold, steps, time=1, channel=4).permute(0, 4, 1, 2, 3)
        return _shift(x, fold, steps, time=2, channel=1)
    if x.is_contiguous(memory_format=torch.channels_last):
        x_BTHWC = x.permute(0, 2, 3, 1).unflatten(0, (-1, num_frames))
        return _shift(x_BTHWC, fold, steps, time=1, channel=4).flatten(0, 1).permute(0, 3, 1, 2)
    x_BTCHW = x.unflatten(0, (-1, num_frames))
    return _shift(x_BTCHW, fold, steps, time=1, channel=2).flatten(0, 1)


def is_traced() -> bool:
    """Return whether ``torch.compile``, ``torch.export`` or ``torch.jit.trace`` is recording operations."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def _check_num_frames(x: Tensor, num_segments: int | None, channel_axis: int) -> int:
    if channel_axis not in (1, -1):
        raise ValueError(f"channel_axis must be 1 or -1, got {channel_axis}.")
    if channel_axis == 1 and x.ndim == 5:
        if num_segments not in (None, x.shape[2]):
            raise ValueError(f"x has T={x.shape[2]} frames in shape {tuple(x.shape)}, got {num_segments=}.")
        return x.shape[2]
    if channel_axis == 1 and x.ndim != 4:
        raise ValueError(f"x must be (B, C, T, H, W) or (B*T, C, H, W), got shape {tuple(x.shape)}.")
    if channel_axis == -1 and x.ndim < 2:
        raise ValueError(f"x must be (B*T, ..., C), got shape {tuple(x.shape)}.")
    if num_segments is None:
        raise ValueError(
            f"x of shape {tuple(x.shape)} holds the frames of several videos: give num_segments= of each."
        )
    if x.shape[0] % num_segments:
        raise ValueError(
            f"The first axis of x must be a multiple of {num_segments=}, got {x.shape[0]}: "
            "give every video num_segments frames."
        )
    return num_segments


def _shift(x: Tensor, fold: int, steps: tuple[int, ...], *, time: int, channel: int) -> Tensor:
    if is_traced():
        return _concatenated(x, fold, steps, time, channel)
    if x.requires_grad and torch.is_grad_enabled():
        return _ShiftFunction.apply(x, fold, steps, time, channel)
    return _copied(x, fold, steps, time, channel)


def _copied(x: Tensor, fold: int, steps: tuple[int, ...], time: int, channel: int) -> Tensor:
    """Shift into a new buffer and write every value once: on a CPU this is as fast as a plain copy."""
    out = torch.empty_like(x)
    for index, step in enumerate(steps):
        source, target = x.narrow(channel, index * fold, fold), out.narrow(channel, index * fold, fold)
        num_kept = x.shape[time] - 1
        target.narrow(time, max(-step, 0), num_kept).copy_(source.narrow(time, max(step, 0), num_kept))
        target.narrow(time, num_kept if step > 0 else 0, 1).zero_()
    start = len(steps) * fold
    num_rest = x.shape[channel] - start
    out.narrow(channel, start, num_rest).copy_(x.narrow(channel, start, num_rest))
    return out


def _concatenated(x: Tensor, fold: int, steps: tuple[int, ...], time: int, channel: int) -> Tensor:
    """Shift by concatenation, because some exporters lose slice assignments."""
    parts = [
        _neighbour(x.narrow(channel, index * fold, fold), step, time) for index, step in enumerate(steps)
    ]
    start = len(steps) * fold
    return torch.cat([*parts, x.narrow(channel, start, x.shape[channel] - start)], channel)


def _neighbour(part: Tensor, step: int, time: int) -> Tensor:
    """Return the frames t + step, for step 1 or -1, in the positions t."""
    kept = part.narrow(time, max(step, 0), part.shape[time] - 1)
    zeros = torch.zeros_like(part.narrow(time, 0, 1))
    return torch.cat([kept, zeros] if step > 0 else [zeros, kept], time)


class _ShiftFunction(torch.autograd.Function):
    """The shift for training: its gradient is the opposite shift, in one pass and without saved tensors.

    Autograd's own gradient adds a full tensor of zeros for each slice of the concatenation.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, fold: int, steps: tuple[int, ...], time: int, channel: int) -> Tensor:
        return _copied(x, fold, steps, time, channel)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, *ctx.how = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        fold, steps, time, channel = ctx.how
        back = tuple(-step for step in steps)
        return _copied(grad, fold, back, time, channel), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _copied(tangent, *ctx.how)


def _keep_unshifted(
    x: Tensor, shifted: Tensor, shift: Callable[[Tensor], Tensor]
) -> AbstractContextManager[None]:
    """Save ``x``, which is kept anyway, instead of ``shifted``; the backward pass shifts ``x`` again.

    The shifted copies would be a fifth of the memory that a training step of a TSM-R50 keeps.
    """
    source, version = x.detach(), x._version
    # Do not capture ``shifted``: the hooks live as long as the packed values and would keep it alive.
    copy = _identity(shifted)

    def pack(saved: Tensor) -> Tensor | None:
        return None if _identity(saved) == copy else saved

    def unpack(packed: Tensor | None) -> Tensor:
        if packed is not None:
            return packed
        if source._version != version:
            raise RuntimeError(
                f"The input of a temporal shift, of shape {tuple(source.shape)}, was modified in "
                "place before the backward pass that needs it: give the shift a clone."
            )
        with torch.no_grad():
            return shift(source)

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


def _identity(x: Tensor) -> tuple[object, ...]:
    """Return a key that is equal for equal views of the same live storage."""
    return x.untyped_storage()._cdata, x.shape, x.stride(), x.dtype


class TemporalShift(nn.Module):
    """Shift the input in time, then apply the wrapped module.

    The wrapped module is ``.net``, so that parameter names match the reference checkpoints.

    Args:
        net: Module on the shifted features; ``None`` only shifts.
        num_segments: Frames of a video; only a (B, C, T, H, W) input does not need it.
        shift_div: See :func:`temporal_shift`.
        causal: See :func:`temporal_shift`.
        channel_axis: See :func:`temporal_shift`.
        num_tokens: Shift only the first ``num_tokens`` tokens of (BT, L, C), such as the class token;
            ``None`` shifts all. Source: Zhang et al., "Token Shift Transformer", arXiv:2108.02432.
    """

    def __init__(
        self,
        net: nn.Module | None = None,
        *,
        num_segments: int | None = None,
        shift_div: int = 8,
        causal: bool = False,
        channel_axis: int = 1,
        num_tokens: int | None = None,
    ) -> None:
        super().__init__()
        if num_segments is not None and num_segments < 1:
            raise ValueError(f"num_segments must be at least 1, got {num_segments}.")
        self.net = nn.Identity() if net is None else net
        self.num_segments = num_segments
        self.shift_div = shift_div
        self.causal = causal
        self.channel_axis = channel_axis
        self.num_tokens = num_tokens

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Map features to the output of ``net`` on their shifted copy; pass further arguments to ``net``."""
        shifted = self.shift(x)
        if not shifted.requires_grad or is_traced():
            return self.net(shifted, *args, **kwargs)
        with ExitStack() as stack:
            # torch.func forbids saved-tensor hooks; the shifted copy is kept then.
            with suppress(RuntimeError):
                stack.enter_context(_keep_unshifted(x, shifted, self.shift))
            return self.net(shifted, *args, **kwargs)

    def shift(self, x: Tensor) -> Tensor:
        """Return the shifted input of ``net``."""
        if self.num_tokens is None:
            return self._shift(x)
        return torch.cat([self._shift(x[:, : self.num_tokens]), x[:, self.num_tokens :]], 1)

    def _shift(self, x: Tensor) -> Tensor:
        return temporal_shift(
            x,
            shift_div=self.shift_div,
            num_segments=self.num_segments,
            causal=self.causal,
            channel_axis=self.channel_axis,
        )

    def extra_repr(self) -> str:
        """Name the settings of the shift."""
        direction = ", causal" if self.causal else ""
        layout = "" if self.channel_axis == 1 else f", channel_axis={self.channel_axis}"
        tokens = "" if self.num_tokens is None else f", num_tokens={self.num_tokens}"
        return f"num_segments={self.num_segments}, shift_div={self.shift_div}{direction}{layout}{tokens}"
