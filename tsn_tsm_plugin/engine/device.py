"""compute_device and batches_on: device of a rank, and transfer of its batches."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from tsn_tsm_plugin import distributed
from tsn_tsm_plugin.host_memory import keep_freed_memory

Batch = dict[str, Any]


def compute_device() -> torch.device:
    """Return this rank's GPU, or the CPU without a GPU or with an empty ``CUDA_VISIBLE_DEVICES``.

    On a CPU, call :func:`~tsn_tsm_plugin.host_memory.keep_freed_memory`.
    """
    if not torch.cuda.is_available():
        keep_freed_memory()
        return torch.device("cpu")
    return torch.device("cuda", distributed.local_rank() % torch.cuda.device_count())


def describe_device(device: torch.device) -> str:
    """Return the type of a device, and its name or the number of threads."""
    is_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if is_gpu else f"{torch.get_num_threads()} threads"
    return f"{device.type} ({name})"


class DeviceCopies:
    """Copies batches to the device on a separate stream, during the computation of the previous step.

    On a CPU nothing is copied. Batches should be uint8, a quarter of the bytes of float32, in pinned
    memory from a loader with ``pin_memory=True``.

    Args:
        device: Target device.
        names: Tensors of a batch that the device needs.
        streams: Module with ``Stream``, ``stream`` and ``current_stream`` of :mod:`torch.cuda`.
    """

    def __init__(
        self, device: torch.device, *, names: tuple[str, ...] = ("video", "label"), streams: Any = torch.cuda
    ) -> None:
        self._device = device
        self._names = names
        self._streams = streams
        self._side = None if device.type == "cpu" else streams.Stream(device)

    def start(self, batch: Batch) -> Batch:
        """Start to copy the tensors of a batch; call :meth:`finish` before using them."""
        if self._side is None:
            return batch
        with self._streams.stream(self._side):
            return batch | {name: batch[name].to(self._device, non_blocking=True) for name in self._names}

    def finish(self, batch: Batch) -> Batch:
        """Make the computation wait for the copies, and return the batch; the CPU does not wait."""
        if self._side is not None:
            current = self._streams.current_stream(self._device)
            current.wait_stream(self._side)
            for name in self._names:
                # The memory belongs to the side stream; keep it until the end of this step.
                batch[name].record_stream(current)
        return batch


def batches_on(
    device: torch.device, batches: Iterable[Batch], *, names: tuple[str, ...] = ("video", "label")
) -> Iterator[Batch]:
    """Yield batches with these tensors on a device; each copy overlaps the previous computation."""
    copies = DeviceCopies(device, names=names)
    ahead = None
    for batch in batches:
        started = copies.start(batch)
        if ahead is not None:
            yield ahead
        ahead = copies.finish(started)
    if ahead is not None:
        yield ahead
