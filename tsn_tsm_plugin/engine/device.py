"""Where a rank computes."""

import torch

from tsn_tsm_plugin import distributed


def compute_device() -> torch.device:
    """Return this rank's GPU, or the CPU on a machine without one or with ``CUDA_VISIBLE_DEVICES`` empty."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", distributed.local_rank() % torch.cuda.device_count())
