"""``torch.compile`` that falls back on the plain network where it does not work."""

from typing import Any

import torch
from torch import Tensor, nn

from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)


class Compiled:
    """Calls the compiled network, or the network itself from the first failure to compile on.

    Args:
        model: The network; its parameters stay where they are.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._call: Any = model
        try:
            self._call = torch.compile(model)
        except Exception as error:
            self._fall_back(error)

    def __call__(self, video: Tensor) -> Tensor:
        """Map views (B, 3, T, H, W) to logits (B, K)."""
        if self._call is self._model:
            return self._model(video)
        try:
            return self._call(video)
        except (
            Exception
        ) as error:  # Compilers fail with errors of many kinds; one of the network comes again.
            self._fall_back(error)
            return self._model(video)

    def _fall_back(self, error: Exception) -> None:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        logger.warning(
            f"torch.compile does not work here ({type(error).__name__}: {reason}). The run goes on without "
            "it; TRAIN.COMPILE False keeps this warning away."
        )
        self._call = self._model
