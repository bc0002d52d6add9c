"""PickleMachine: read a pickle as data; no global of a file is ever imported or called.

A pickle is a program for a stack machine, which :mod:`pickletools` splits into instructions. In Python's
own machine some of them run code: they import or call a global, make an instance or set its state. Here a
global is only a name. The names of :mod:`~tsn_tsm_plugin.checkpoints.pickled_values` make tensors, arrays,
containers and numbers; every other name becomes a :class:`~tsn_tsm_plugin.checkpoints.stub.Stub`.
"""

import codecs
import io
import pickle
import pickletools
from collections.abc import Callable
from typing import IO, Any

import numpy as np
from torch import Tensor

from tsn_tsm_plugin.checkpoints.pickled_values import CONSTANTS, REBUILDERS, NumpyType, fill_array
from tsn_tsm_plugin.checkpoints.stub import MAX_DEPTH, Stub, as_key, is_too_deep

# Exceptions from building data with wrong arguments.
_MISBUILT = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class PickleMachine:
    """Run a pickle of any protocol as far as it is data.

    Time and memory grow with the length of the pickle only: an instruction never reads more bytes than there
    are.

    Args:
        data: Bytes, or a mapped file that is read from its present position to the end of the pickle.
        load_storage: Maps a persistent identifier to its value; ``None`` makes stubs of them.
    """

    def __init__(self, data: Any, *, load_storage: Callable[[Any], Any] | None = None) -> None:
        self._stream = io.BytesIO(data) if isinstance(data, bytes) else data
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
        while (code := self._stream.read(1)) != pickle.STOP:
            opcode = _OPCODES.get(code)
            if opcode is None:
                raise pickle.UnpicklingError("the pickle is cut off, or an instruction is unknown")
            argument = self._argument(opcode)
            if opcode.name in _VALUES:
                value = _VALUES[opcode.name](self, argument)  # The call may replace self._stack.
                self._stack.append(value)
            elif opcode.name in _INSTRUCTIONS:
                _INSTRUCTIONS[opcode.name](self, argument)
            elif argument is not None:
                self._stack.append(argument)
            else:
                raise pickle.UnpicklingError(f"instruction {opcode.name} is unknown")
        result = self._stack.pop()
        if is_too_deep(result):
            raise pickle.UnpicklingError(f"its values are nested more than {MAX_DEPTH} deep")
        return result

    def _argument(self, opcode: pickletools.OpcodeInfo) -> Any:
        """Return the argument that follows an instruction."""
        if opcode.arg is None:
            return None
        try:
            return _READERS.get(opcode.name, opcode.arg.reader)(self._stream)
        except ValueError as error:
            raise pickle.UnpicklingError("the pickle is cut off or damaged") from error

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
        """Return an item of the memo."""
        return self._memo[index]

    def put(self, index: int | None = None) -> None:
        """Store the last item in the memo, by default under the next number."""
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
        """Pop a state and give it to the last item; attributes of containers and tensors are dropped."""
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


def _protocol(machine: PickleMachine, version: int) -> None:
    if version > pickle.HIGHEST_PROTOCOL:
        raise pickle.UnpicklingError(f"pickle protocol {version} is unknown")


def _line(stream: IO[bytes]) -> bytes:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise pickle.UnpicklingError("the pickle is cut off")
    return line[:-1]


def _quoted(stream: IO[bytes]) -> str:
    line = _line(stream)
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b'"', b"'"):
        raise pickle.UnpicklingError("a text has no quotes")
    # Texts of Python 2 are bytes: Latin-1 keeps each of them.
    return bytes(codecs.escape_decode(line[1:-1])[0]).decode("latin1")


def _name(stream: IO[bytes]) -> tuple[str, str]:
    return _line(stream).decode(), _line(stream).decode()


def _object(items: list[Any]) -> tuple[Any, tuple[Any, ...]]:
    return items[0], tuple(items[1:])


_OPCODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}
# Readers of arguments that pickletools reads only if they are ASCII.
_READERS: dict[str, Callable[[IO[bytes]], Any]] = {
    "STRING": _quoted,
    "GLOBAL": _name,
    "INST": _name,
    "PERSID": lambda stream: _line(stream).decode("latin1"),
}

# Instructions of protocols 0 to 5 that put a value on the stack, other than their own argument.
_VALUES: dict[str, Callable[[PickleMachine, Any], Any]] = {
    "NONE": lambda m, _: None,
    "NEWTRUE": lambda m, _: True,
    "NEWFALSE": lambda m, _: False,
    "EMPTY_LIST": lambda m, _: [],
    "EMPTY_TUPLE": lambda m, _: (),
    "EMPTY_DICT": lambda m, _: {},
    "EMPTY_SET": lambda m, _: set(),
    "LIST": lambda m, _: m.group(),
    "TUPLE": lambda m, _: tuple(m.group()),
    "TUPLE1": lambda m, _: tuple(m.last(1)),
    "TUPLE2": lambda m, _: tuple(m.last(2)),
    "TUPLE3": lambda m, _: tuple(m.last(3)),
    "DICT": lambda m, _: _pairs(m.group()),
    "FROZENSET": lambda m, _: frozenset(as_key(item) for item in m.group()),
    "DUP": lambda m, _: m.top(),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), PickleMachine.get),
    "GLOBAL": lambda m, name: m.named(*name),
    "STACK_GLOBAL": lambda m, _: m.named(*m.last(2)),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), lambda m, code: Stub(f"extension {code}")),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda m, _: m.make(*m.last(2))),
    "NEWOBJ_EX": lambda m, _: m.make(*m.last(3)),
    "INST": lambda m, name: m.make(m.named(*name), tuple(m.group())),
    "OBJ": lambda m, _: m.make(*_object(m.group())),
    "PERSID": PickleMachine.persistent,
    "BINPERSID": lambda m, _: m.persistent(m.last(1)[0]),
}

# The other instructions but STOP and NEXT_BUFFER: files have no buffers outside the pickle.
_INSTRUCTIONS: dict[str, Callable[[PickleMachine, Any], object]] = {
    "PROTO": _protocol,
    "MARK": lambda m, _: m.mark(),
    "POP": lambda m, _: m.pop(),
    "POP_MARK": lambda m, _: m.group(),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), PickleMachine.put),
    "APPEND": lambda m, _: m.extend(m.last(1)),
    "APPENDS": lambda m, _: m.extend(m.group()),
    "SETITEM": lambda m, _: m.update(m.last(2)),
    "SETITEMS": lambda m, _: m.update(m.group()),
    "ADDITEMS": lambda m, _: m.add(m.group()),
    "BUILD": lambda m, _: m.build(),
    **dict.fromkeys(("FRAME", "READONLY_BUFFER"), lambda m, _: None),
}
