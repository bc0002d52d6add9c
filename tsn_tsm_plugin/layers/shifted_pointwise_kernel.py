"""Triton kernel: a 1x1 convolution that reads each fold of its channels from the frame it is shifted from.

Features in channels_last are a matrix of pixels times channels, in which the neighbouring frame of a pixel
is H * W rows away. So the shift is an offset of the rows where a block of channels is loaded, and zeros past
the ends.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Shares of the work of one program. Never tuned: no GPU was at hand.
BLOCKS = {"BLOCK_ROWS": 128, "BLOCK_OUTPUTS": 64, "BLOCK_CHANNELS": 32}


@triton.jit
def _kernel(  # type: ignore[no-untyped-def]  # Triton knows no other annotation than constexpr.
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    num_rows,
    num_channels,
    num_outputs,
    rows_per_frame,
    num_segments,
    FOLD: tl.constexpr,
    IS_CAUSAL: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_OUTPUTS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    # Programs beside each other share their rows of x, which the first of them brings into the cache.
    num_output_blocks = (num_outputs + BLOCK_OUTPUTS - 1) // BLOCK_OUTPUTS
    first_row = (tl.program_id(0) // num_output_blocks).to(tl.int64) * BLOCK_ROWS
    rows = first_row + tl.arange(0, BLOCK_ROWS)
    outputs = tl.program_id(0) % num_output_blocks * BLOCK_OUTPUTS + tl.arange(0, BLOCK_OUTPUTS)
    frames = rows // rows_per_frame % num_segments
    total = tl.full((BLOCK_ROWS, BLOCK_OUTPUTS), 0.0, tl.float32)
    for start in range(0, num_channels, BLOCK_CHANNELS):
        channels = start + tl.arange(0, BLOCK_CHANNELS)
        # The compiler knows the width of a fold, within which neighbouring channels are loaded together.
        folds = channels // FOLD
        steps = tl.where(folds == 0, 1, 0) - tl.where(folds == 1, 1, 0)
        if IS_CAUSAL:
            steps = tl.where(folds == 0, -1, 0)
        sources = frames[:, None] + steps[None, :]
        is_inside = (sources >= 0) & (sources < num_segments) & (rows < num_rows)[:, None]
        source_rows = rows[:, None] + steps[None, :] * rows_per_frame
        x = tl.load(
            x_ptr + source_rows * num_channels + channels[None, :],
            mask=is_inside & (channels < num_channels)[None, :],
            other=0.0,
        )
        weight = tl.load(
            weight_ptr + outputs[None, :] * num_channels + channels[:, None],
            mask=(outputs < num_outputs)[None, :] & (channels < num_channels)[:, None],
            other=0.0,
        )
        total = tl.dot(x, weight, total, input_precision=PRECISION)
    is_output = outputs < num_outputs
    if HAS_BIAS:
        total += tl.load(bias_ptr + outputs, mask=is_output, other=0.0).to(tl.float32)[None, :]
    tl.store(
        out_ptr + rows[:, None] * num_outputs + outputs[None, :],
        total.to(out_ptr.dtype.element_ty),
        mask=(rows < num_rows)[:, None] & is_output[None, :],
    )


def launch(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, num_segments: int, fold: int, causal: bool
) -> Tensor:
    """Run the kernel.

    Args:
        x: (BT, C, H, W) in channels_last; float32, float16 or bfloat16.
        weight: (K, C, 1, 1), of the same dtype.
        bias: (K,) or none.
        num_segments: T.
        fold: Channels that are shifted each way.
        causal: Whether the first fold alone is shifted, from the past.

    Returns:
        (BT, K, H, W) in channels_last.
    """
    num_frames, num_channels, height, width = x.shape
    num_outputs, num_rows = weight.shape[0], num_frames * height * width
    out = torch.empty(
        (num_frames, num_outputs, height, width),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )
    num_row_blocks = triton.cdiv(num_rows, BLOCKS["BLOCK_ROWS"])
    num_programs = num_row_blocks * triton.cdiv(num_outputs, BLOCKS["BLOCK_OUTPUTS"])
    _kernel[(num_programs,)](
        x,
        weight.reshape(num_outputs, num_channels).contiguous(),
        out if bias is None else bias,
        out,
        num_rows,
        num_channels,
        num_outputs,
        height * width,
        num_segments,
        FOLD=fold,
        IS_CAUSAL=causal,
        HAS_BIAS=bias is not None,
        PRECISION=input_precision(),
        **BLOCKS,
    )
    return out


def input_precision() -> str:
    """Return how the kernel rounds float32: ``"tf32"`` or ``"ieee"``, as cuDNN's convolutions do."""
    # PyTorch 2.9 named the setting anew, and refuses to read the old name where the new one was set.
    convolutions = getattr(torch.backends.cudnn, "conv", None)
    if convolutions is None:
        return "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"
    return "tf32" if convolutions.fp32_precision == "tf32" else "ieee"
