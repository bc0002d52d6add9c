"""REBUILDERS and CONSTANTS: the globals of pickles that are data, and the functions that build the data.

PyTorch, NumPy and Python write these names. Each function compares the claims of the file with its bytes.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsn_tsm_plugin.checkpoints.stub import Stub, as_key

_NAMED_ALIKE = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Bool")
_STORAGE_TYPES = {name: getattr(torch, name.lower()) for name in _NAMED_ALIKE} | {
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Untyped": torch.uint8,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "QInt8": torch.int8,
    "QUInt8": torch.uint8,
    "QInt32": torch.int32,
}
_MAX_DIMENSIONS = 64


@dataclass(frozen=True)
class Storage:
    """Bytes of tensors.

    Attributes:
        content: The bytes, on the CPU.
        dtype: Type of the elements.
    """

    content: torch.UntypedStorage
    dtype: torch.dtype


@dataclass(frozen=True)
class StorageType:
    """A global such as ``torch.FloatStorage``."""

    dtype: torch.dtype


class NumpyType:
    """The element type of a NumPy array while its pickle is read.

    Args:
        code: NumPy's code, e.g. ``"f8"``.
    """

    def __init__(self, code: str, *_: object) -> None:
        if not isinstance(code, str) or len(code) > 8 or code[:1] not in set("biufcSU"):
            raise ValueError("it is no type of numbers or text")
        self._dtype = np.dtype(code)
        if not 0 < self._dtype.itemsize <= 2**16:
            raise ValueError("it is no type of numbers or text")

    def set_state(self, state: Any) -> None:
        """Take the byte order from the state of a pickled ``numpy.dtype``."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self._dtype = self._dtype.newbyteorder(state[1])

    def read(self, content: object, shape: tuple[int, ...], *, is_fortran: bool = False) -> np.ndarray:
        """Return a copy of the bytes as an array.

        Raises:
            ValueError: If the bytes are too few or too many for the shape.
        """
        if isinstance(content, str):
            content = content.encode("latin1")
        if not isinstance(content, bytes | bytearray) or not _are_sizes(shape):
            raise ValueError("its bytes or its shape are none")
        if math.prod(shape) * self._dtype.itemsize != len(content):
            raise ValueError(f"its {len(content)} bytes do not fill the shape {shape}")
        flat = np.frombuffer(bytes(content), self._dtype)
        return flat.reshape(shape, order="F" if is_fortran else "C").copy()


def fill_array(array: np.ndarray, state: Any) -> None:
    """Give an empty array of a pickle its shape, type and elements, in place.

    Raises:
        ValueError: If the state is not an array of numbers or text.
    """
    if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], NumpyType):
        raise ValueError("its elements are no numbers or text")
    _, shape, element, is_fortran, content = state
    read = element.read(content, shape, is_fortran=bool(is_fortran))
    # NumPy gets a new state, made from the checked array, instead of the file's state.
    array.__setstate__((1, read.shape, read.dtype, False, read.tobytes()))  # type: ignore[arg-type]


def _are_sizes(values: object) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) <= _MAX_DIMENSIONS
        and all(type(value) is int and 0 <= value < 2**62 for value in values)
    )


def _view(storage: Storage, dtype: torch.dtype, offset: int, size: Any, stride: Any) -> Tensor:
    """Return the elements of a storage that a tensor claims, and never elements beyond its end."""
    size, stride = tuple(size), tuple(stride)
    if (
        not isinstance(storage, Storage)
        or not _are_sizes((*size, *stride, offset))
        or len(size) != len(stride)
    ):
        raise ValueError("its sizes are none")
    there, count = storage.content.nbytes() // dtype.itemsize, math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if count > there or (count and last >= there):
        raise ValueError(f"its {count} elements are more than the {there} in the file")
    return torch.empty(0, dtype=dtype).set_(storage.content, offset, size, stride)


def _first_argument(data: Tensor, *_: object) -> Tensor:
    if not isinstance(data, Tensor):
        raise TypeError("it holds no tensor")
    return data


def _of_a_subclass(rebuild: Any, _type: object, arguments: tuple[Any, ...], *_: object) -> Tensor:
    if not isinstance(rebuild, Stub):
        raise TypeError("it holds no tensor")
    return _PLAIN_TENSORS[rebuild.name](*arguments)


def _dictionary(pairs: Any = ()) -> dict[Any, Any]:
    pairs = pairs.items() if isinstance(pairs, Mapping) else pairs
    return {as_key(key): value for key, value in pairs}


def _sequence(kind: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    def rebuild(items: Any = ()) -> Any:
        if not isinstance(items, list | tuple | set | frozenset):
            raise TypeError("its items are none")
        return kind([as_key(item) for item in items] if kind in (set, frozenset) else list(items))

    return rebuild


def _bytes_of_text(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1", "utf-8", "utf8", "ascii"):
        raise ValueError("its encoding is not a text encoding")
    return text.encode(encoding)


def _bytes(content: Any = b"", encoding: str = "latin1") -> bytes:
    if isinstance(content, str):
        return _bytes_of_text(content, encoding)
    # bytes(number) would allocate that many bytes.
    if isinstance(content, bytes | bytearray) or (isinstance(content, list | tuple) and len(content) < 2**20):
        return bytes(content)
    raise TypeError("its bytes are none")


_PLAIN_TENSORS: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys(
        ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"),
        lambda storage, offset, size, stride, *_: _view(storage, storage.dtype, offset, size, stride),
    ),
    "torch._utils._rebuild_tensor_v3": (
        lambda storage, offset, size, stride, grad, hooks, dtype, *_: _view(
            storage, dtype, offset, size, stride
        )
    ),
}
_NUMPY: dict[str, Callable[..., Any]] = {
    "multiarray.scalar": lambda element, content: element.read(content, ()).item(),
    "multiarray._reconstruct": lambda *_: np.empty(0, np.int8),
    "numeric._frombuffer": (
        lambda content, element, shape, order="C": element.read(content, shape, is_fortran=order == "F")
    ),
}

REBUILDERS: dict[str, Callable[..., Any]] = {
    **_PLAIN_TENSORS,
    "torch._utils._rebuild_parameter": _first_argument,
    "torch._utils._rebuild_parameter_with_state": _first_argument,
    "torch._tensor._rebuild_from_type_v2": _of_a_subclass,
    "torch.Size": _sequence(tuple),
    "collections.OrderedDict": lambda pairs=(): OrderedDict(_dictionary(pairs)),
    "collections.defaultdict": lambda *_: {},
    "collections.Counter": lambda counts=(): Counter(_dictionary(counts)),
    "builtins.dict": _dictionary,
    "builtins.list": _sequence(list),
    "builtins.tuple": _sequence(tuple),
    "builtins.set": _sequence(set),
    "builtins.frozenset": _sequence(frozenset),
    "builtins.bytes": _bytes,
    "builtins.bytearray": lambda *content: bytearray(_bytes(*content)),
    "builtins.complex": lambda real, imaginary=0.0: complex(float(real), float(imaginary)),
    "_codecs.encode": _bytes_of_text,
    "numpy.dtype": NumpyType,
    **{f"numpy.{core}.{name}": rebuild for core in ("core", "_core") for name, rebuild in _NUMPY.items()},
}

CONSTANTS: dict[str, Any] = {
    **{str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)},
    **{
        f"{module}.{name}Storage": StorageType(dtype)
        for module in ("torch", "torch.cuda", "torch.storage")
        for name, dtype in _STORAGE_TYPES.items()
    },
}
