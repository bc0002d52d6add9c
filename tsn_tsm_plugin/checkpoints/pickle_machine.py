"""PickleMachine: read a pickle as data; no global of a file is ever imported or called.

A pickle is a program for a stack machine. A few of its instructions can run code in Python's own machine:
they import a global, call it, make an instance or set its state. Here a global is only a name. The names of
:mod:`~tsn_tsm_plugin.checkpoints.pickled_values` make tensors, arrays, containers and numbers; every other
name becomes a :class:`~tsn_tsm_plugin.checkpoints.stub.Stub`.
"""

import codecs
import pickle
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from tsn_tsm_plugin.checkpoints.pickled_values import CONSTANTS, REBUILDERS, NumpyType, fill_array
from tsn_tsm_plugin.checkpoints.stub import MAX_DEPTH, Stub, as_key, is_too_deep

# Exceptions from building data with wrong arguments.
_MISBUILT = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class PickleMachine:
    """Run a pickle of any protocol as far as it is data.

    Time and memory grow with the length of the pickle only: every length is compared with the remaining
    bytes.

    Args:
        data: Bytes, or a mapped file.
        start: Index of the first byte of the pickle.
        load_storage: Maps a persistent identifier to its value; ``None`` makes stubs of them.

    Attributes:
        position: Index behind the pickle, after :meth:`run`.
    """

    def __init__(
        self, data: Any, *, start: int = 0, load_storage: Callable[[Any], Any] | None = None
    ) -> None:
        self.position = start
        self._data = data
        self._load_storage = load_storage
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Return the content of the pickle.

        Raises:
            pickle.UnpicklingError: If the pickle is cut off, unknown or nested too deeply. Damage may also
                raise ``LookupError``, ``ValueError`` or ``TypeError``.
        """
        data, size, stop = self._data, len(self._data), pickle.STOP[0]
        while self.position < size:
            code = data[self.position]
            self.position += 1
            if code in _VALUES:
                value = _VALUES[code](self)  # It may change which stack is the present one.
                self._stack.append(value)
            elif code in _INSTRUCTIONS:
                _INSTRUCTIONS[code](self)
            elif code == stop:
                result = self._stack.pop()
                if is_too_deep(result):
                    raise pickle.UnpicklingError(f"its values are nested more than {MAX_DEPTH} deep")
                return result
            else:
                raise pickle.UnpicklingError(f"instruction {code} is unknown")
        raise pickle.UnpicklingError("the pickle is cut off")

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        end = self.position + count
        if end > len(self._data):
            raise pickle.UnpicklingError("the pickle is cut off")
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def number(self, layout: str) -> Any:
        """Return the number of a ``struct`` layout that comes next."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def line(self) -> bytes:
        """Return the next bytes up to a line break, without the line break."""
        end = self._data.find(b"\n", self.position)
        if end < 0:
            raise pickle.UnpicklingError("the pickle is cut off")
        taken = self.take(end - self.position)
        self.position += 1
        return taken

    # Stack and memo.

    def mark(self) -> None:
        """Begin a group of items."""
        self._marks.append(self._stack)
        self._stack = []

    def group(self) -> list[Any]:
        """End a group of items and return them."""
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def last(self, count: int) -> list[Any]:
        """Take the last items from the stack."""
        items = self._stack[-count:]
        if len(items) < count:
            raise pickle.UnpicklingError("the stack is empty")
        del self._stack[-count:]
        return items

    def top(self) -> Any:
        """Return the last item and leave it on the stack."""
        return self._stack[-1]

    def pop(self) -> None:
        """Drop the last item, or an empty group."""
        if self._stack:
            self._stack.pop()
        else:
            self.group()

    def get(self, index: int) -> Any:
        """Return an item that was put aside."""
        return self._memo[index]

    def put(self, index: int | None = None) -> None:
        """Put the last item aside, by default under the next number."""
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    # Containers.

    def extend(self, items: list[Any]) -> None:
        """Put items into the list that is the last item."""
        target = self._stack[-1]
        if not isinstance(target, list | Stub):
            raise pickle.UnpicklingError(f"a {type(target).__name__} takes no items")
        (target.items if isinstance(target, Stub) else target).extend(items)

    def add(self, items: list[Any]) -> None:
        """Put items into the set that is the last item."""
        target = self._stack[-1]
        if not isinstance(target, set | Stub):
            raise pickle.UnpicklingError(f"a {type(target).__name__} takes no members")
        (target.items.extend if isinstance(target, Stub) else target.update)([as_key(i) for i in items])

    def update(self, items: list[Any]) -> None:
        """Put keys and values, in turn, into the dictionary that is the last item."""
        target = self._stack[-1]
        if isinstance(target, Stub):
            target.items.extend(zip(items[::2], items[1::2], strict=True))
        elif isinstance(target, dict):
            target.update(_pairs(items))
        else:
            raise pickle.UnpicklingError(f"a {type(target).__name__} takes no keys")

    # Instructions that run code in Python's own machine.

    def named(self, module: object, name: object) -> Any:
        """Return the replacement of a global: a constant, or a stub."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise pickle.UnpicklingError("the name of a global is no text")
        full_name = f"{_OLD_MODULES.get(module, module)}.{name}"
        return CONSTANTS[full_name] if full_name in CONSTANTS else Stub(full_name)

    def make(self, called: Any, arguments: Any, state: Any = None) -> Any:
        """Build data, or return a stub of the call."""
        if not isinstance(called, Stub) or called.arguments is not None:
            return Stub(f"object of type {type(called).__name__}", (called, arguments))
        arguments = arguments if isinstance(arguments, tuple) else (arguments,)
        reason = ""
        if called.name in REBUILDERS and not state:
            try:
                return REBUILDERS[called.name](*arguments)
            except _MISBUILT as error:
                reason = str(error).partition("\n")[0]
        stub = Stub(called.name, arguments, reason=reason)
        stub.state = state
        return stub

    def build(self) -> None:
        """Give the item before the last one its state; attributes of containers and tensors are dropped."""
        target, state = self._stack[-2], self._stack.pop()
        if isinstance(target, Stub):
            target.state = state
        elif isinstance(target, NumpyType):
            target.set_state(state)
        elif isinstance(target, np.ndarray):
            try:
                fill_array(target, state)
            except (TypeError, ValueError) as error:
                self._stack[-1] = Stub("numpy.ndarray", (state,), reason=str(error))
        elif not isinstance(target, dict | Tensor):
            raise pickle.UnpicklingError(f"a {type(target).__name__} takes no state")

    def persistent(self, identifier: Any) -> Any:
        """Return the value of a persistent identifier."""
        if self._load_storage is None:
            return Stub("persistent object", (identifier,))
        return self._load_storage(identifier)


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return {as_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _protocol(machine: PickleMachine) -> None:
    version = machine.number("<B")
    if version > pickle.HIGHEST_PROTOCOL:
        raise pickle.UnpicklingError(f"pickle protocol {version} is unknown")


def _whole_number(machine: PickleMachine) -> int | bool:
    line = machine.line()
    return line == b"01" if line in (b"00", b"01") else int(line)


def _quoted(machine: PickleMachine) -> str:
    line = machine.line()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b'"', b"'"):
        raise pickle.UnpicklingError("a text has no quotes")
    return _latin(codecs.escape_decode(line[1:-1])[0])


def _latin(content: Any) -> str:
    # Texts of Python 2 are bytes: Latin-1 keeps each of them.
    return bytes(content).decode("latin1")


def _text(layout: str) -> Callable[[PickleMachine], str]:
    return lambda m: bytes(m.take(m.number(layout))).decode("utf-8", "surrogatepass")


def _whole(layout: str) -> Callable[[PickleMachine], int]:
    return lambda m: int.from_bytes(m.take(m.number(layout)), "little", signed=True)


def _object(items: list[Any]) -> tuple[Any, tuple[Any, ...]]:
    return items[0], tuple(items[1:])


# Instructions of protocols 0 to 5 that put a value on the stack, by their byte.
_VALUES: dict[int, Callable[[PickleMachine], Any]] = {
    pickle.NONE[0]: lambda m: None,
    pickle.NEWTRUE[0]: lambda m: True,
    pickle.NEWFALSE[0]: lambda m: False,
    pickle.INT[0]: _whole_number,
    pickle.LONG[0]: lambda m: int(m.line().rstrip(b"L")),
    pickle.BININT[0]: lambda m: m.number("<i"),
    pickle.BININT1[0]: lambda m: m.number("<B"),
    pickle.BININT2[0]: lambda m: m.number("<H"),
    pickle.LONG1[0]: _whole("<B"),
    pickle.LONG4[0]: _whole("<I"),
    pickle.FLOAT[0]: lambda m: float(m.line()),
    pickle.BINFLOAT[0]: lambda m: m.number(">d"),
    pickle.STRING[0]: _quoted,
    pickle.BINSTRING[0]: lambda m: _latin(m.take(m.number("<I"))),
    pickle.SHORT_BINSTRING[0]: lambda m: _latin(m.take(m.number("<B"))),
    pickle.UNICODE[0]: lambda m: m.line().decode("raw-unicode-escape"),
    pickle.SHORT_BINUNICODE[0]: _text("<B"),
    pickle.BINUNICODE[0]: _text("<I"),
    pickle.BINUNICODE8[0]: _text("<Q"),
    pickle.SHORT_BINBYTES[0]: lambda m: m.take(m.number("<B")),
    pickle.BINBYTES[0]: lambda m: m.take(m.number("<I")),
    pickle.BINBYTES8[0]: lambda m: m.take(m.number("<Q")),
    pickle.BYTEARRAY8[0]: lambda m: bytearray(m.take(m.number("<Q"))),
    pickle.EMPTY_LIST[0]: lambda m: [],
    pickle.EMPTY_TUPLE[0]: lambda m: (),
    pickle.EMPTY_DICT[0]: lambda m: {},
    pickle.EMPTY_SET[0]: lambda m: set(),
    pickle.LIST[0]: lambda m: m.group(),
    pickle.TUPLE[0]: lambda m: tuple(m.group()),
    pickle.TUPLE1[0]: lambda m: tuple(m.last(1)),
    pickle.TUPLE2[0]: lambda m: tuple(m.last(2)),
    pickle.TUPLE3[0]: lambda m: tuple(m.last(3)),
    pickle.DICT[0]: lambda m: _pairs(m.group()),
    pickle.FROZENSET[0]: lambda m: frozenset(as_key(item) for item in m.group()),
    pickle.DUP[0]: lambda m: m.top(),
    pickle.GET[0]: lambda m: m.get(int(m.line())),
    pickle.BINGET[0]: lambda m: m.get(m.number("<B")),
    pickle.LONG_BINGET[0]: lambda m: m.get(m.number("<I")),
    pickle.GLOBAL[0]: lambda m: m.named(m.line().decode(), m.line().decode()),
    pickle.STACK_GLOBAL[0]: lambda m: m.named(*m.last(2)),
    pickle.EXT1[0]: lambda m: Stub(f"extension {m.number('<B')}"),
    pickle.EXT2[0]: lambda m: Stub(f"extension {m.number('<H')}"),
    pickle.EXT4[0]: lambda m: Stub(f"extension {m.number('<I')}"),
    pickle.REDUCE[0]: lambda m: m.make(*m.last(2)),
    pickle.NEWOBJ[0]: lambda m: m.make(*m.last(2)),
    pickle.NEWOBJ_EX[0]: lambda m: m.make(*m.last(3)),
    pickle.INST[0]: lambda m: m.make(m.named(m.line().decode(), m.line().decode()), tuple(m.group())),
    pickle.OBJ[0]: lambda m: m.make(*_object(m.group())),
    pickle.PERSID[0]: lambda m: m.persistent(_latin(m.line())),
    pickle.BINPERSID[0]: lambda m: m.persistent(m.last(1)[0]),
}

# The others but STOP and NEXT_BUFFER: files have no buffers outside the pickle.
_INSTRUCTIONS: dict[int, Callable[[PickleMachine], object]] = {
    pickle.PROTO[0]: _protocol,
    pickle.FRAME[0]: lambda m: m.take(8),
    pickle.MARK[0]: PickleMachine.mark,
    pickle.POP[0]: PickleMachine.pop,
    pickle.POP_MARK[0]: PickleMachine.group,
    pickle.PUT[0]: lambda m: m.put(int(m.line())),
    pickle.BINPUT[0]: lambda m: m.put(m.number("<B")),
    pickle.LONG_BINPUT[0]: lambda m: m.put(m.number("<I")),
    pickle.MEMOIZE[0]: lambda m: m.put(),
    pickle.APPEND[0]: lambda m: m.extend(m.last(1)),
    pickle.APPENDS[0]: lambda m: m.extend(m.group()),
    pickle.SETITEM[0]: lambda m: m.update(m.last(2)),
    pickle.SETITEMS[0]: lambda m: m.update(m.group()),
    pickle.ADDITEMS[0]: lambda m: m.add(m.group()),
    pickle.BUILD[0]: PickleMachine.build,
    pickle.READONLY_BUFFER[0]: lambda m: None,
}
