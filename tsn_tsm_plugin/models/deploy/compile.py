"""Compiled: call compiled code, and fall back to the plain module if ``torch.compile`` fails."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tsn_tsm_plugin.layers.tracing import compile_or_warn

_HINT = "The run continues uncompiled. Set TRAIN.COMPILE False to avoid this warning."


class Compiled:
    """Call compiled code for full batches, and the plain module for smaller batches.

    Compiling again for a smaller batch, such as after an unreadable video, takes a minute. After the first
    failure to compile, all batches use the plain module.

    Args:
        plain: Module whose first input is a video (B, C, T, H, W); not modified.
        num_clips: B of a full batch.
        mode: Mode of ``torch.compile``.
    """

    def __init__(self, plain: Callable[..., Any], *, num_clips: int, mode: str = "default") -> None:
        self._plain = plain
        self._num_clips = num_clips
        self._compiled = compile_or_warn(lambda: torch.compile(plain, mode=mode, dynamic=False), hint=_HINT)

    def __call__(self, video: Tensor, *rest: Tensor) -> Any:
        """Return the module's output for a batch."""
        compiled = self._compiled
        if compiled is None or len(video) != self._num_clips:
            return self._plain(video, *rest)
        result = compile_or_warn(lambda: compiled(video, *rest), hint=_HINT)
        if result is None:  # The plain call repeats an error of the network itself.
            self._compiled = None
            return self._plain(video, *rest)
        return result
