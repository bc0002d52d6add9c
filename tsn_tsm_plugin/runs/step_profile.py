"""StepProfile: trace training steps with PyTorch's profiler, and list the costliest operators."""

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from tsn_tsm_plugin.atomic_files import replace_when_whole, write_text_atomically

_NUM_ROWS = 30


class StepProfile:
    """Records the operations of this process on CPU and GPU between two calls.

    Args:
        folder: Folder for ``trace.json.gz`` (for Perfetto or ``chrome://tracing``) and ``operators.txt``.
    """

    def __init__(self, folder: Path) -> None:
        self.trace = folder / "trace.json.gz"
        self.table = folder / "operators.txt"
        self._uses_cuda = torch.cuda.is_available()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._uses_cuda else [])]
        self._profile = profile(activities=activities, record_shapes=True)

    def start(self) -> None:
        """Start the recording."""
        self._profile.start()

    def stop(self) -> None:
        """End the recording and write its files."""
        self._profile.stop()
        with replace_when_whole(self.trace) as unfinished:
            self._profile.export_chrome_trace(str(unfinished))
        order = "self_cuda_time_total" if self._uses_cuda else "self_cpu_time_total"
        table = self._profile.key_averages().table(sort_by=order, row_limit=_NUM_ROWS)
        write_text_atomically(self.table, table + "\n")
