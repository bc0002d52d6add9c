"""The temporal shift within the 1x1 convolution that follows it: no shifted copy is written or kept.

Axes: C channels in, K channels out, H rows, W columns; BT is videos times frames, video-major.
Source: as :func:`tsn_tsm_plugin.layers.temporal_shift`; that a shift is an offset of loads, section 3 there.
"""

import functools
import importlib.util
import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tsn_tsm_plugin.layers.temporal_shift import (
    check_fold,
    check_num_frames,
    shift_folds,
    steps_of,
    temporal_shift,
)


def shifted_pointwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    num_segments: int,
    shift_div: int = 8,
    causal: bool = False,
) -> Tensor:
    """Shift features in time and convolve them with a 1x1 kernel of stride 1, in one pass.

    Equals ``F.conv2d(temporal_shift(x, ...), weight, bias)`` up to the order of sums. On a GPU a Triton
    kernel reads every fold of the channels from the frame it is shifted from; elsewhere, without Triton, and
    in float64 the two steps are taken one after the other. Autograd keeps ``x`` as it came, and shifts it
    again in the backward pass.

    **Nobody has run or measured this on a GPU yet.** The kernel compiles for GPUs, and its results in float32
    and float16 are held against the two steps by Triton's interpreter on CPUs; its block sizes are a guess,
    and nothing uses it that does not call it.

    Args:
        x: Features (BT, C, H, W) of any floating dtype and memory format.
        weight: (K, C, 1, 1). Under autocast it takes part in autocast's dtype, like a convolution's.
        bias: (K,) or none.
        num_segments: T, frames of a video.
        shift_div: See :func:`temporal_shift`.
        causal: See :func:`temporal_shift`.

    Returns:
        (BT, K, H, W) in channels_last.

    Raises:
        ValueError: If the shapes do not fit each other, ``num_segments`` or ``shift_div``.
    """
    if x.ndim != 4 or weight.ndim != 4 or weight.shape[1:] != (x.shape[1], 1, 1):
        raise ValueError(
            "x must be (BT, C, H, W) and weight (K, C, 1, 1) with the same C, got shapes "
            f"{tuple(x.shape)} and {tuple(weight.shape)}."
        )
    check_num_frames(x, num_segments)
    check_fold(x, shift_div)
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    return _shifted_pointwise(x, weight, bias, num_segments, shift_div, causal)


@torch.library.custom_op("tsn_tsm_plugin::shifted_pointwise", mutates_args=())
def _shifted_pointwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, num_segments: int, shift_div: int, causal: bool
) -> Tensor:
    if _has_kernel(x):
        from tsn_tsm_plugin.layers.shifted_pointwise_kernel import launch

        x = x.contiguous(memory_format=torch.channels_last)
        fold = x.shape[1] // shift_div
        with torch.cuda.device_of(x):
            return launch(x, weight, bias, num_segments=num_segments, fold=fold, causal=causal)
    shifted = temporal_shift(x, shift_div=shift_div, num_segments=num_segments, causal=causal)
    return F.conv2d(shifted, weight, bias).contiguous(memory_format=torch.channels_last)


def _has_kernel(x: Tensor) -> bool:
    # Triton's interpreter runs kernels on any device, for tests.
    has_device = x.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"
    return has_device and x.dtype != torch.float64 and _has_triton()


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


@_shifted_pointwise.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor | None, num_segments: int, shift_div: int, causal: bool
) -> Tensor:
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, *ctx.how = inputs
    ctx.num_biases = None if bias is None else [bias.shape[0]]
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, grad: Tensor) -> Any:
    x, weight = ctx.saved_tensors
    num_segments, shift_div, causal = ctx.how
    needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
    grad_shifted, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
        grad,
        temporal_shift(x, num_segments=num_segments, shift_div=shift_div, causal=causal),
        weight,
        ctx.num_biases,
        stride=[1, 1],
        padding=[0, 0],
        dilation=[1, 1],
        transposed=False,
        output_padding=[0, 0],
        groups=1,
        output_mask=[needs_x, needs_weight, needs_bias],
    )
    grad_x = None
    if needs_x:
        back = tuple(-step for step in steps_of(causal=causal))
        fold = x.shape[1] // shift_div
        grad_x = shift_folds(grad_shifted, num_frames=num_segments, fold=fold, steps=back)
    return grad_x, grad_weight, grad_bias, None, None, None


_shifted_pointwise.register_autograd(_backward, setup_context=_setup_context)
