"""Compiled: a compiled call that falls back on the plain one if ``torch.compile`` does not work."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tsn_tsm_plugin.layers.tracing import compile_or_warn

_HINT = "The run goes on without it; TRAIN.COMPILE False keeps this warning away."


class Compiled:
    """Calls compiled code for full batches, and the plain module for smaller ones.

    A smaller batch, such as one with an unreadable video, would be compiled anew, which takes a minute. From
    the first failure to compile on, all batches use the plain module.

    Args:
        plain: Takes a video (B, C, T, H, W) first; its parameters stay as they are.
        num_clips: B of a full batch.
        mode: As of ``torch.compile``.
    """

    def __init__(self, plain: Callable[..., Any], *, num_clips: int, mode: str = "default") -> None:
        self._plain = plain
        self._num_clips = num_clips
        self._compiled = compile_or_warn(lambda: torch.compile(plain, mode=mode, dynamic=False), hint=_HINT)

    def __call__(self, video: Tensor, *rest: Tensor) -> Any:
        """Return what the module makes of a batch."""
        compiled = self._compiled
        if compiled is None or len(video) != self._num_clips:
            return self._plain(video, *rest)
        result = compile_or_warn(lambda: compiled(video, *rest), hint=_HINT)
        if result is None:  # An error of the network itself comes again.
            self._compiled = None
            return self._plain(video, *rest)
        return result
