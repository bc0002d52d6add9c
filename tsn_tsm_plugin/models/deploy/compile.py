"""Compiled, compile_or_warn: call compiled code, or the plain module if ``torch.compile`` fails."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from tsn_tsm_plugin.errors import first_line
from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)

_Result = TypeVar("_Result")
_HINT = "The run continues uncompiled. Set TRAIN.COMPILE False to avoid this warning."


def compile_or_warn(work: Callable[[], _Result], *, hint: str) -> _Result | None:
    """Return the result of ``work``, which uses ``torch.compile``; ``None`` with a warning if it fails.

    Args:
        work: Function that compiles, or calls a compiled function.
        hint: End of the warning: the fallback, and the way to switch the warning off.
    """
    try:
        return work()
    except Exception as error:  # Compilers raise errors of many kinds.
        reason = f"{type(error).__name__}: {first_line(error)}"
        logger.warning(f"torch.compile does not work here ({reason}). {hint}")
        return None


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
