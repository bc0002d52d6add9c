"""is_traced, compile_or_warn: detect tracing of a network, and warn if compilation fails."""

from collections.abc import Callable
from typing import TypeVar

import torch

from tsn_tsm_plugin.errors import first_line
from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)

_Result = TypeVar("_Result")


def is_traced() -> bool:
    """Return whether ``torch.compile``, ``torch.export`` or ``torch.jit.trace`` is recording operations."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


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
