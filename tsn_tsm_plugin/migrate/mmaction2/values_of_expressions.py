"""Evaluator, Unread, Symbol, Budget: values of Python expressions, computed without running any code.

Only harmless expressions are computed: names, literals, arithmetic, texts, conditions, subscripts, and the
calls in ``harmless_calls``. Sizes and the number of steps are bounded.
"""

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.migrate.mmaction2 import harmless_calls
from tsn_tsm_plugin.migrate.mmaction2.harmless_calls import NotHarmlessError, bounded, format_value, require
from tsn_tsm_plugin.migrate.mmaction2.settings import BaseDict, ConfigDict

MAX_STEPS = 500_000
MAX_DEPTH = 60
_MAX_SOURCE = 80
_PLACEHOLDER = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")

_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitOr: operator.or_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}


@dataclass(frozen=True)
class Unread:
    """Stands for a value that only the file's own code could give.

    Attributes:
        location: ``file:line``.
        source: The expression, shortened.
    """

    location: str
    source: str


@dataclass(frozen=True)
class Symbol:
    """A class, function or module that the file imports.

    Attributes:
        name: Dotted name, as ``os.path.join``.
        location: ``file:line`` of its use.
    """

    name: str
    location: str


@dataclass
class Budget:
    """Counts the steps that reading a file and its bases takes."""

    path: Path
    left: int = MAX_STEPS

    def spend(self, steps: int = 1) -> None:
        """Count steps.

        Raises:
            ConfigError: If there are more than ``MAX_STEPS``.
        """
        self.left -= steps
        if self.left < 0:
            raise ConfigError(
                f"{self.path}: a config must not take more than {MAX_STEPS} steps to read. "
                "Write its values as they are."
            )


class Evaluator:
    """Evaluates the expressions of one file.

    Args:
        path: Path of the file.
        text: Text of the file.
        budget: Budget shared with the file's bases.

    Attributes:
        names: Values assigned so far.
        base: Settings of its bases, read as ``_base_.x``.
        has_star_import: Whether names may come from a module that is not read.
        used: Names that other values refer to.
    """

    def __init__(self, path: Path, text: str, budget: Budget) -> None:
        self.names, self.base = ConfigDict(), BaseDict()
        self._variables = {
            "fileDirname": str(path.parent.resolve()),
            "fileBasename": path.name,
            "fileBasenameNoExtension": path.stem,
            "fileExtname": path.suffix,
        }
        self.has_star_import = False
        self.used: set[str] = set()
        self._path, self._lines, self._budget = path, text.splitlines(), budget
        self._depth = 0

    def value(self, node: ast.expr) -> Any:
        """Return the value of an expression; parts that are not harmless, or the whole, are `Unread`.

        Raises:
            ConfigError: If the budget is spent.
            TypeError, ValueError, ArithmeticError: If Python itself could not evaluate the expression.
        """
        try:
            return self._evaluate(node)
        except (NotHarmlessError, RecursionError):
            return self.unread(node)

    def unread(self, node: ast.expr | ast.stmt) -> Unread:
        """Return the placeholder for the value of an unread node."""
        is_line = node.lineno == node.end_lineno
        end = node.end_col_offset if is_line else None
        encoded = self._lines[node.lineno - 1].encode()[node.col_offset : end]
        source = "".join(c if c.isprintable() else "?" for c in encoded.decode(errors="replace").strip())
        is_short = is_line and len(source) <= _MAX_SOURCE
        return Unread(self.location(node), source if is_short else f"{source[:_MAX_SOURCE]}...")

    def location(self, node: ast.expr | ast.stmt) -> str:
        """Return ``file:line`` of a node."""
        return f"{self._path}:{node.lineno}"

    def known(self, node: ast.expr) -> Any:
        """Return the value of an expression.

        Raises:
            NotHarmlessError: If the expression is not harmless, or refers to unread values.
        """
        value = self._evaluate(node)
        require(not isinstance(value, Unread))
        return value

    def _evaluate(self, node: ast.expr) -> Any:
        self._budget.spend()
        reader: Any = getattr(self, f"_{type(node).__name__.lower()}", None)
        require(reader is not None and self._depth < MAX_DEPTH)
        self._depth += 1
        try:
            return bounded(reader(node))
        finally:
            self._depth -= 1

    def _constant(self, node: ast.Constant) -> Any:
        if isinstance(node.value, str) and "{{" in node.value:
            return _PLACEHOLDER.sub(lambda match: str(self._variable(match[1])), node.value)
        harmless_calls.check_flat(node.value)
        return node.value

    def _name(self, node: ast.Name) -> Any:
        if node.id in self.names:
            self.used.add(node.id)
            value = self.names[node.id]
            return Symbol(value.name, self.location(node)) if isinstance(value, Symbol) else value
        if node.id == "_base_":
            return self.base
        require(node.id in harmless_calls.FUNCTIONS or self.has_star_import)
        return Symbol(node.id, self.location(node))

    def _attribute(self, node: ast.Attribute) -> Any:
        owner = self.known(node.value)
        if isinstance(owner, Symbol):
            return Symbol(f"{owner.name}.{node.attr}", self.location(node))
        require(isinstance(owner, dict) and node.attr in owner)
        return owner[node.attr]

    def _variable(self, name: str) -> Any:
        value: Any = {**self._variables, "_base_": self.base}
        for part in name.split("."):
            require(isinstance(value, dict) and part in value)
            value = value[part]
        require(not isinstance(value, Unread))
        return value

    def _items(self, nodes: list[ast.expr]) -> list[Any]:
        items: list[Any] = []
        for each in nodes:
            if isinstance(each, ast.Starred):
                items += self.known(each.value)
            else:
                items.append(self.value(each))
        return items

    def _list(self, node: ast.List) -> list[Any]:
        return self._items(node.elts)

    def _tuple(self, node: ast.Tuple | ast.Set) -> tuple[Any, ...]:
        return tuple(self._items(node.elts))

    def _set(self, node: ast.Set) -> Any:
        """Read ``{{_base_.x}}``, which parses as a set in a set, or a set of plain values."""
        inner = node.elts[0]
        if len(node.elts) == 1 and isinstance(inner, ast.Set) and len(inner.elts) == 1:
            name = inner.elts[0]
            if isinstance(name, ast.Name) and name.id in self._variables:
                return self._variables[name.id]
            return self._evaluate(name)
        return self._tuple(node)

    def _dict(self, node: ast.Dict) -> ConfigDict:
        result = ConfigDict()
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                self._spread(value, result)
            else:
                name = self.value(key)
                if isinstance(name, Unread):
                    name = name.source
                harmless_calls.check_flat(name)
                result.put(name, self.value(value), self.location(value))
        return result

    def _spread(self, node: ast.expr, result: ConfigDict) -> None:
        other = self.value(node)
        if isinstance(other, Unread):
            result[f"**{other.source}"] = other
        else:
            result.update(other)

    def _subscript(self, node: ast.Subscript) -> Any:
        owner = self.known(node.value)
        if isinstance(node.slice, ast.Slice):
            limits = (node.slice.lower, node.slice.upper, node.slice.step)
            return owner[slice(*(None if each is None else self.known(each) for each in limits))]
        try:
            return owner[self.known(node.slice)]
        except (KeyError, IndexError, TypeError):
            raise NotHarmlessError from None

    def _ifexp(self, node: ast.IfExp) -> Any:
        return self._evaluate(node.body if self.known(node.test) else node.orelse)

    def _boolop(self, node: ast.BoolOp) -> Any:
        result: Any = None
        for each in node.values:
            result = self.known(each)
            if bool(result) is isinstance(node.op, ast.Or):
                return result
        return result

    def _compare(self, node: ast.Compare) -> bool:
        left = self.known(node.left)
        for sign, each in zip(node.ops, node.comparators, strict=True):
            right = self.known(each)
            for side in (left, right):
                harmless_calls.check_flat(side)
            if not _OPERATORS[type(sign)](left, right):
                return False
            left = right
        return True

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        require(type(node.op) in _OPERATORS)
        return _OPERATORS[type(node.op)](self.known(node.operand))

    def _binop(self, node: ast.BinOp) -> Any:
        return self.operate(node.op, self.known(node.left), self.known(node.right))

    def operate(self, sign: ast.operator, left: Any, right: Any) -> Any:
        """Return the result of an arithmetic operation whose size is bounded.

        Raises:
            NotHarmlessError: If the result could be large, or the operation is unknown.
        """
        harmless_calls.check_operands(type(sign), left, right)
        require(type(sign) in _OPERATORS)
        return _OPERATORS[type(sign)](left, right)

    def _joinedstr(self, node: ast.JoinedStr) -> str:
        return "".join([self._evaluate(each) for each in node.values])

    def _formattedvalue(self, node: ast.FormattedValue) -> str:
        spec = "" if node.format_spec is None else self._evaluate(node.format_spec)
        return format_value(self.known(node.value), spec, is_repr=node.conversion == ord("r"))

    def _call(self, node: ast.Call) -> Any:
        positional = self._items(node.args)
        named = ConfigDict()
        for keyword in node.keywords:
            if keyword.arg is None:
                self._spread(keyword.value, named)
            else:
                named.put(keyword.arg, self.value(keyword.value), self.location(keyword.value))
        self._budget.spend(sum(len(each) for each in positional if hasattr(each, "__len__")))
        if isinstance(node.func, ast.Attribute):
            owner = self.known(node.func.value)
            if not isinstance(owner, Symbol):
                result = harmless_calls.call_method(owner, node.func.attr, positional, named)
                if isinstance(owner, ConfigDict):
                    self._budget.spend(len(owner))
                    for key in owner:  # Some are new, as after `setdefault`.
                        owner.lines.setdefault(key, self.location(node))
                return result
        function = self.known(node.func)
        require(isinstance(function, Symbol) and not any(isinstance(each, Unread) for each in positional))
        return harmless_calls.call_function(function.name, positional, named)
