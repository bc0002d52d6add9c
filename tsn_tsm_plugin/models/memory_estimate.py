"""estimate_memory, available_memory: the memory that a training step needs and that a machine has."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

_FLOAT_BYTES = 4
# Allowance for temporary memory: gradients of feature maps, working space, fragmentation.
_MARGIN = 1.2
# Number of weight-sized tensors that each optimiser keeps.
_OPTIMIZER_STATES = {"sgd": 1, "lars": 1, "adamw": 2}
_HALF = 0.55  # In bf16 and fp16 most feature maps need half the memory; norms keep float32.
_CGROUP_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a process needs for a training step.

    Attributes:
        fixed: Weights, gradients and optimiser state.
        per_clip: Bytes that each clip of a forward pass adds.
    """

    fixed: int
    per_clip: int

    def of(self, num_clips: int) -> int:
        """Return the bytes for a forward pass of some clips."""
        return self.fixed + num_clips * self.per_clip

    def largest(self, available: int) -> int:
        """Return the most clips of a forward pass that fit, at least 1."""
        return max(1, (available - self.fixed) // max(1, self.per_clip))


def estimate_memory(
    model: nn.Module, *, num_frames: int, size: int, optimizer: str = "sgd", is_half: bool = False
) -> MemoryEstimate:
    """Count the tensors that autograd keeps for one clip, on the meta device.

    The estimate ignores activation checkpointing (``MODEL.ACT_CHECKPOINT``), which needs less.

    Args:
        model: A TSN or TSM on the meta device.
        num_frames: Frames of a clip.
        size: Side of a frame, in pixels.
        optimizer: Name of the optimiser.
        is_half: Whether the forward pass runs in bf16 or fp16.
    """
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    fixed = (2 + _OPTIMIZER_STATES.get(optimizer, 2)) * num_parameters * _FLOAT_BYTES
    # The difference between two batch sizes excludes the constant part.
    one, three = (
        _saved_bytes(model.train(), torch.empty(n, 3, num_frames, size, size, device="meta")) for n in (1, 3)
    )
    return MemoryEstimate(fixed, int((three - one) / 2 * (_HALF if is_half else 1.0) * _MARGIN))


def _saved_bytes(model: nn.Module, video_BCTHW: Tensor) -> int:
    """Return the bytes of the tensors that autograd keeps for a backward pass; count each storage once."""
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        scores = model(video_BCTHW)
    del scores
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def available_memory(device: torch.device) -> int:
    """Return the free bytes of a device; for the CPU, of the machine or the container's limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    limits = [_available_on_machine()]
    for limit_file, usage_file in _CGROUP_LIMITS:
        limit, usage = _number(limit_file), _number(usage_file)
        if limit is not None and usage is not None:
            limits.append(max(0, limit - usage))
    return min(limits)


def _available_on_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 2**62
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else 2**62


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
