"""is_traced, compile_or_warn: whether a network is recorded, and what a failure to compile does."""

from collections.abc import Callable
from typing import TypeVar

import torch

from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)

_Result = TypeVar("_Result")


def is_traced() -> bool:
    """Tell whether operations are recorded: by ``torch.compile``, ``torch.export`` or ``torch.jit.trace``."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def compile_or_warn(work: Callable[[], _Result], *, hint: str) -> _Result | None:
    """Return what ``work`` with ``torch.compile`` returns, or ``None`` and a warning if it fails.

    Args:
        work: Compiles, or calls what was compiled.
        hint: What happens instead, and how to switch the warning off.
    """
    try:
        return work()
    except Exception as error:  # Compilers fail with errors of many kinds.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        logger.warning(f"torch.compile does not work here ({type(error).__name__}: {reason}). {hint}")
        return None
