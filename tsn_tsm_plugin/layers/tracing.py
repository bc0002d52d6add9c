"""is_traced and format_compile_failure: whether a network is recorded, and why it could not be."""

import torch


def is_traced() -> bool:
    """Tell whether operations are recorded: by ``torch.compile``, ``torch.export`` or ``torch.jit.trace``."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def format_compile_failure(error: Exception, *, hint: str) -> str:
    """Return the one sentence that says why ``torch.compile`` is not used, and a hint."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
    return f"torch.compile does not work here ({type(error).__name__}: {reason}). {hint}"
