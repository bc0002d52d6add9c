"""seed_all, random_state: seed the generators by epoch and rank; save their state for a checkpoint."""

import os
import random
from typing import Any

import numpy as np
import torch


def seed_all(seed: int, *, epoch: int = 0, rank: int = 0) -> None:
    """Seed Python, NumPy and PyTorch for one epoch of one rank.

    Every epoch has its own seed, so a validation between epochs does not change the training.
    """
    words = np.random.SeedSequence((seed, epoch, rank)).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(words[2]))


def make_deterministic() -> None:
    """Restrict PyTorch to deterministic algorithms; slower on GPUs."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def random_state() -> dict[str, Any]:
    """Return the state of the generators of Python, NumPy, PyTorch and CUDA in plain values and tensors."""
    state: Any = np.random.get_state()
    algorithm, keys, position, has_gauss, cached = state
    return {
        "python": random.getstate(),
        "numpy": [algorithm, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore the generators to a state of :func:`random_state`."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    algorithm, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((algorithm, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
