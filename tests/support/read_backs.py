"""ReadBacks: find operations that make the CPU wait for a device: reads of values and copies to the CPU."""

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# Operations that wait for a GPU. On a CPU some of these operations never reach the dispatcher.
_OPERATIONS = {"_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "_unique2", "masked_select"}
_METHODS = {
    getattr(Tensor, name): name
    for name in (
        "tolist", "item", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__",
    )
}  # fmt: skip


class ReadBacks:
    """Records reads within its ``with`` block.

    Attributes:
        found: Names of the reading operations.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        self._modes = [_Operations(self.found), _Methods(self.found)]

    def __enter__(self) -> "ReadBacks":
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)


class _Operations(TorchDispatchMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in _OPERATIONS:
            self._found.append(name)
        return func(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _METHODS:
            self._found.append(_METHODS[func])
        return func(*args, **(kwargs or {}))
