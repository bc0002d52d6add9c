"""Where a rank computes."""

import torch

from tsn_tsm_plugin import distributed
from tsn_tsm_plugin.host_memory import keep_freed_memory


def compute_device() -> torch.device:
    """Return this rank's GPU, or the CPU on a machine without one or with ``CUDA_VISIBLE_DEVICES`` empty.

    With the CPU comes :func:`~tsn_tsm_plugin.host_memory.keep_freed_memory`.
    """
    if not torch.cuda.is_available():
        keep_freed_memory()
        return torch.device("cpu")
    return torch.device("cuda", distributed.local_rank() % torch.cuda.device_count())
