"""Compiled: a compiled call that falls back on the plain one if ``torch.compile`` does not work."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tsn_tsm_plugin.layers.tracing import format_compile_failure
from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)


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
        self._compiled: Callable[..., Any] | None = None
        try:
            self._compiled = torch.compile(plain, mode=mode, dynamic=False)
        except Exception as error:
            self._fall_back(error)

    def __call__(self, video: Tensor, *rest: Tensor) -> Any:
        """Return what the module makes of a batch."""
        if self._compiled is None or len(video) != self._num_clips:
            return self._plain(video, *rest)
        try:
            return self._compiled(video, *rest)
        except Exception as error:  # Compilers fail in many ways; an error of the network comes again.
            self._fall_back(error)
            return self._plain(video, *rest)

    def _fall_back(self, error: Exception) -> None:
        hint = "The run goes on without it; TRAIN.COMPILE False keeps this warning away."
        logger.warning(format_compile_failure(error, hint=hint))
        self._compiled = None
