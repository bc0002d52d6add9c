"""Whether a network is being recorded, and not run."""

import torch


def is_traced() -> bool:
    """Tell whether operations are recorded: by ``torch.compile``, ``torch.export`` or ``torch.jit.trace``."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()
