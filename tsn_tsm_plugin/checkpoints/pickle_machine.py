"""PickleMachine: read a pickle as data; no global of a file is ever imported or called.

A pickle is a program for a stack machine. In Python's own machine some instructions run code: they import
or call a global, make an instance or set its state. Here a global is only a name. The names of
:mod:`~tsn_tsm_plugin.checkpoints.pickled_values` make tensors, arrays, containers and numbers; every other
name becomes a :class:`~tsn_tsm_plugin.checkpoints.stub.Stub`.
"""

import io
import pickle
import struct
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from torch import Tensor

from tsn_tsm_plugin.checkpoints.pickled_values import CONSTANTS, REBUILDERS, NumpyType, fill_array
from tsn_tsm_plugin.checkpoints.stub import MAX_DEPTH, Stub, as_key, is_too_deep

# Exceptions from building data with wrong arguments.
_MISBUILT = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
# The machine that is written in Python has a method for each instruction; the one in C cannot be changed.
_PythonMachine: Any = pickle._Unpickler  # type: ignore[attr-defined]


# Python's methods for these put plain values on the stack, or call the methods below; no other is inherited.
_INHERITED_NAMES = """
    PROTO FRAME STOP MARK POP POP_MARK DUP PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8
    EMPTY_LIST LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT EMPTY_SET
    GLOBAL STACK_GLOBAL INST OBJ EXT1 EXT2 EXT4 PERSID BINPERSID
"""
_INHERITED = [getattr(pickle, name)[0] for name in _INHERITED_NAMES.split()]


class PickleMachine(_PythonMachine):
    """Python's machine for a pickle of any protocol, with other methods for all that can run code.

    Time and memory grow with the length of the pickle only: an instruction never reads more bytes than there
    are.

    Args:
        data: Bytes, or a mapped file that is read from its present position to the end of the pickle.
        load_storage: Maps a persistent identifier to its value, or to ``None`` for a stub.
    """

    def __init__(self, data: Any, *, load_storage: Callable[[Any], Any] = lambda _: None) -> None:
        # Texts of Python 2 are bytes: Latin-1 keeps each of them.
        super().__init__(io.BytesIO(data) if isinstance(data, bytes) else data, encoding="latin1")
        self._load_storage = load_storage

    def run(self) -> Any:
        """Return the content of the pickle.

        Raises:
            pickle.UnpicklingError: If the pickle is cut off, unknown or nested too deeply. Damage may also
                raise ``LookupError``, ``ValueError``, ``TypeError`` or ``struct.error``.
        """
        try:
            result = self.load()
        except (EOFError, AttributeError, OverflowError) as error:
            raise pickle.UnpicklingError("the pickle is cut off or damaged") from error
        if is_too_deep(result):
            raise pickle.UnpicklingError(f"its values are nested more than {MAX_DEPTH} deep")
        return result

    # Instructions that run code in Python's own machine.

    def find_class(self, module: str, name: str) -> Any:
        """Return the replacement of a global: a constant, or a stub."""
        full_name = f"{_OLD_MODULES.get(module, module)}.{name}"
        return CONSTANTS[full_name] if full_name in CONSTANTS else Stub(full_name)

    def get_extension(self, code: int) -> None:
        """Put a stub for a global that the program registers as a number."""
        self.append(Stub(f"extension {code}"))

    def persistent_load(self, identifier: Any) -> Any:
        """Return the value of a persistent identifier."""
        value = self._load_storage(identifier)
        return Stub("persistent object", (identifier,)) if value is None else value

    def _instantiate(self, called: Any, arguments: list[Any]) -> None:
        self.append(_made(called, tuple(arguments)))

    def _call(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = _made(self.stack[-1], arguments)

    def _call_with_keywords(self) -> None:
        keywords, arguments = self.stack.pop(), self.stack.pop()
        self.stack[-1] = _made(self.stack[-1], arguments, keywords)

    def _build(self) -> None:
        """Pop a state and give it to the last item; attributes of containers and tensors are dropped."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Stub):
            target.state = state
        elif isinstance(target, NumpyType):
            target.set_state(state)
        elif isinstance(target, np.ndarray):
            try:
                fill_array(target, state)
            except (TypeError, ValueError) as error:
                self.stack[-1] = Stub("numpy.ndarray", (state,), reason=str(error))
        elif not isinstance(target, dict | Tensor):
            raise pickle.UnpicklingError(f"a {type(target).__name__} takes no state")

    # Containers: the hash of a nested key may take any time, and other objects have methods of these names.

    def _bytearray(self) -> None:
        self.append(bytearray(self.read(struct.unpack("<Q", self.read(8))[0])))

    def _put(self, kind: type, method: str, items: Iterable[Any]) -> None:
        """Put items into the last value by a method of its kind of container."""
        target = self.stack[-1]
        if isinstance(target, Stub):
            target.items.extend(items)
        elif isinstance(target, kind):
            getattr(target, method)(items)
        else:
            raise pickle.UnpicklingError(f"a {type(target).__name__} takes no items of a {kind.__name__}")

    def _dictionary(self) -> None:
        items = self.pop_mark()  # From here on, append is another list's.
        self.append(_pairs(items))

    def _frozenset(self) -> None:
        items = self.pop_mark()
        self.append(frozenset(map(as_key, items)))

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._put(dict, "update", _pairs([key, value]).items())

    dispatch = {
        **{code: _PythonMachine.dispatch[code] for code in _INHERITED},
        pickle.REDUCE[0]: _call,
        pickle.NEWOBJ[0]: _call,
        pickle.NEWOBJ_EX[0]: _call_with_keywords,
        pickle.BUILD[0]: _build,
        pickle.BYTEARRAY8[0]: _bytearray,
        pickle.READONLY_BUFFER[0]: lambda self: None,
        pickle.APPEND[0]: lambda self: self._put(list, "extend", [self.stack.pop()]),
        pickle.APPENDS[0]: lambda self: self._put(list, "extend", self.pop_mark()),
        pickle.ADDITEMS[0]: lambda self: self._put(set, "update", map(as_key, self.pop_mark())),
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: lambda self: self._put(dict, "update", _pairs(self.pop_mark()).items()),
        pickle.DICT[0]: _dictionary,
        pickle.FROZENSET[0]: _frozenset,
    }


def _made(called: Any, arguments: Any, state: Any = None) -> Any:
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


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return {as_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}
