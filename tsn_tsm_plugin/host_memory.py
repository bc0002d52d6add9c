"""keep_freed_memory: let the C library keep freed memory for the next allocation."""

import ctypes
import os
import platform

# Parameters of mallopt(3), from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER, _LARGEST = -1, 2**31 - 1
_CHOSEN_BY_USER = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next allocation, instead of returning it to the system.

    On Linux, glibc returns freed tensors of some megabytes to the system, which zeroes the pages of the next
    tensors (cost: ``tests/benchmarks/bench_network.py``). Afterwards the process keeps its peak memory.

    The tools call this function if they compute on a CPU. The function does nothing on other systems, or if
    the user has set ``GLIBC_TUNABLES`` or ``MALLOC_*``.

    Example:
        >>> is_kept = keep_freed_memory()  # once, before the first clip

    Returns:
        Whether the process now keeps its memory.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _CHOSEN_BY_USER):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_TRIM_THRESHOLD, _NEVER)) and bool(mallopt(_MMAP_THRESHOLD, _LARGEST))
