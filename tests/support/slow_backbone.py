"""slow_backbone: a backbone whose training steps are slow enough to interrupt, and can fail on one rank.

Tests set it by environment variables, since it runs in the processes of a job:

    TOY_STEP_SECONDS   least duration of a training step
    TOY_TEST_SECONDS   least duration of a batch in a test
    TOY_FAULT          RANK:STEP:HOW, HOW being raise, kill, segv, exit or hang; in the first start only
    TOY_BAD_WEIGHT     first weight of a network whose test fails
    TOY_IMPORT_SECONDS how long the import of this module takes
"""

import ctypes
import os
import signal
import time

from support.runs import TinyBackbone
from torch import Tensor

if "SLURM_PROCID" in os.environ:
    time.sleep(float(os.environ.get("TOY_IMPORT_SECONDS", "0")))


class SlowBackbone(TinyBackbone):
    def __init__(self) -> None:
        super().__init__()
        self._steps = 0

    def forward(self, x_NCHW: Tensor) -> Tensor:
        if self.training:
            self._steps += 1
            time.sleep(float(os.environ.get("TOY_STEP_SECONDS", "0")))
            self._go_wrong(*os.environ.get("TOY_FAULT", "-1:0:").split(":"))
        else:
            time.sleep(float(os.environ.get("TOY_TEST_SECONDS", "0")))
            first = next(self.parameters()).flatten()[0]
            if not first.is_meta and float(first) == float(os.environ.get("TOY_BAD_WEIGHT", "nan")):
                raise RuntimeError("boom in the test")
        return super().forward(x_NCHW)

    def _go_wrong(self, rank: str, step: str, how: str) -> None:
        is_first_start = os.environ.get("SLURM_RESTART_COUNT", "0") == "0"
        if os.environ.get("RANK", "0") != rank or self._steps != int(step) or not is_first_start:
            return
        if how == "raise":
            raise RuntimeError(f"boom on rank {rank}")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "segv":
            ctypes.string_at(0)
        if how == "exit":
            os._exit(0)
        if how == "hang":
            time.sleep(1000)


def slow_backbone(*, weights: str = "") -> SlowBackbone:
    return SlowBackbone()
