"""StepLog: what steps were, kept on the device and read back many steps at a time."""

from typing import NamedTuple

import torch

from tsn_tsm_plugin.engine.optimizer_step import StepResult


class StepNumbers(NamedTuple):
    """The numbers of a step; see :class:`~tsn_tsm_plugin.engine.optimizer_step.StepResult`."""

    loss: float
    num_right: int
    grad_norm: float
    is_applied: bool
    loss_scale: float


class StepLog:
    """Collects the results of steps without waiting for any of them.

    Args:
        device: Where the results are.
        capacity: Steps between two readings, at most.
    """

    def __init__(self, device: torch.device, *, capacity: int) -> None:
        self._rows = torch.zeros(capacity, len(StepNumbers._fields), dtype=torch.float64, device=device)
        self._num_rows = 0

    def add(self, result: StepResult) -> None:
        """Note the result of a step."""
        columns = [getattr(result, name).double() for name in StepNumbers._fields]
        torch.stack(columns, out=self._rows[self._num_rows])
        self._num_rows += 1

    def read(self) -> list[StepNumbers]:
        """Return the steps since the last reading, oldest first, by one transfer from the device."""
        rows = self._rows[: self._num_rows].tolist()
        self._num_rows = 0
        return [
            StepNumbers(loss, int(right), norm, bool(applied), scale)
            for loss, right, norm, applied, scale in rows
        ]
