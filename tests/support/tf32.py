"""without_tf32, EmulatedTF32: TF32, float32 with 10 of 23 bits; GPUs since Ampere use it in convolutions."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextmanager
def without_tf32() -> Iterator[None]:
    """Compute in full float32, as on a CPU, and restore the settings afterwards."""
    settings = _settings()
    before = [getattr(owner, name) for owner, name, _ in settings]
    try:
        for owner, name, full in settings:
            setattr(owner, name, full)
        yield
    finally:
        for (owner, name, _), value in zip(settings, before, strict=True):
            setattr(owner, name, value)


def tf32_allowed() -> tuple[bool, bool]:
    """Return whether convolutions and whether matrix products of float32 may be computed in TF32."""
    convolutions, products = (getattr(owner, name) for owner, name, _ in _settings())
    return convolutions in ("tf32", True), products in ("tf32", True)


def _settings() -> list[tuple[Any, str, Any]]:
    """Return the owner of each setting, its name, and its value for full float32."""
    backends = torch.backends
    # PyTorch 2.9 and later refuse to read the older names if the newer names were set.
    if hasattr(backends.cudnn, "conv"):
        return [(owner, "fp32_precision", "ieee") for owner in (backends.cudnn.conv, backends.cuda.matmul)]
    return [(owner, "allow_tf32", False) for owner in (backends.cudnn, backends.cuda.matmul)]


class EmulatedTF32(TorchFunctionMode):
    """Emulates a GPU with TF32: rounds inputs of float32 convolutions if the settings allow TF32.

    Attributes:
        num_convolutions: Number of convolutions in TF32.
    """

    def __init__(self) -> None:
        super().__init__()
        self.num_convolutions = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function, with rounded inputs if it is a TF32 convolution."""
        has_values = func is torch.conv2d and args[0].device.type == "cpu"
        if has_values and args[0].dtype == torch.float32 and tf32_allowed()[0]:
            self.num_convolutions += 1
            args = (_rounded(args[0]), _rounded(args[1]), *args[2:])
        return func(*args, **(kwargs or {}))


def _rounded(x: Tensor) -> Tensor:
    return ((x.detach().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)
