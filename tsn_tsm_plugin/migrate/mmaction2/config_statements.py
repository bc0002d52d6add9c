"""ConfigFile: execute the harmless statements of one config file on plain values."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.migrate.mmaction2.harmless_calls import NotHarmlessError, bounded, check_flat, require
from tsn_tsm_plugin.migrate.mmaction2.settings import ConfigDict
from tsn_tsm_plugin.migrate.mmaction2.values_of_expressions import Budget, Evaluator, Symbol, Unread


class ConfigFile(Evaluator):
    """The assignments of one file, followed in order.

    Args:
        path: Path of the file.
        text: Text of the file.
        budget: Budget shared with the file's bases.
        read_base: Returns the settings of a base, from its name and the location of the reference.

    Attributes:
        notes: Statements that were not followed, each with its location.
    """

    def __init__(
        self, path: Path, text: str, budget: Budget, read_base: Callable[[str, str], ConfigDict]
    ) -> None:
        super().__init__(path, text, budget)
        self._read_base = read_base
        self.notes: list[str] = []

    def follow(self, statements: list[ast.stmt]) -> None:
        """Follow statements.

        Raises:
            ConfigError: If Python could not run a line, or a bound is exceeded.
        """
        for statement in statements:
            self._budget.spend()
            follow = getattr(self, f"_{type(statement).__name__.lower()}", self._other)
            try:
                follow(statement)
            except (NotHarmlessError, RecursionError):
                self._other(statement)
            except ConfigError:
                raise
            except (TypeError, ValueError, ArithmeticError, KeyError, IndexError) as error:
                raise ConfigError(
                    f"{self.location(statement)}: Python could not run this line ({error}). Correct it."
                ) from error

    def _other(self, statement: ast.stmt) -> None:
        """Report a statement that is not followed; mark its targets as unread."""
        lost = self.unread(statement)
        names = dict.fromkeys(_assigned_names(statement))
        for name in names:
            self.names[name] = lost
        if not names:
            self.notes.append(f"{lost.location}: {lost.source} would have to be run")

    def _pass(self, statement: ast.Pass | ast.Assert) -> None:
        pass

    _assert = _pass

    def _expr(self, statement: ast.Expr) -> None:
        call = statement.value
        if isinstance(call, ast.Constant):
            return  # A docstring.
        used = set(self.used)
        self.known(call)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            root = next((node.id for node in ast.walk(call.func) if isinstance(node, ast.Name)), "")
            if root not in used:
                self.used.discard(root)

    def _assign(self, statement: ast.Assign) -> None:
        value = self.value(statement.value)
        for target in statement.targets:
            if isinstance(target, ast.Name) and target.id == "_base_":
                self._read_bases(value, statement)
            else:
                self._bind(target, value)

    def _annassign(self, statement: ast.AnnAssign) -> None:
        if statement.value is not None:
            self._bind(statement.target, self.value(statement.value))

    def _augassign(self, statement: ast.AugAssign) -> None:
        target = statement.target
        before = self.known(target)
        value = self.known(statement.value)
        if isinstance(before, list) and isinstance(statement.op, ast.Add):
            before += value
            bounded(before)
        else:
            self._bind(target, bounded(self.operate(statement.op, before, value)))

    def _delete(self, statement: ast.Delete) -> None:
        for target in statement.targets:
            if isinstance(target, ast.Name):
                del self.names[target.id]
            elif isinstance(target, ast.Subscript):
                del self.known(target.value)[self.known(target.slice)]
            else:
                raise NotHarmlessError

    def _import(self, statement: ast.Import) -> None:
        for alias in statement.names:
            name = alias.name if alias.asname else alias.name.partition(".")[0]
            self.names[alias.asname or name] = Symbol(name, self.location(statement))

    def _importfrom(self, statement: ast.ImportFrom) -> None:
        for alias in statement.names:
            if alias.name == "*":
                self.has_star_import = True
            else:
                name = f"{statement.module}.{alias.name}"
                self.names[alias.asname or alias.name] = Symbol(name, self.location(statement))

    def _with(self, statement: ast.With) -> None:
        call = statement.items[0].context_expr
        name = getattr(call, "func", None)
        is_read_base = getattr(name, "id", getattr(name, "attr", "")) == "read_base"
        require(is_read_base and len(statement.items) == 1)
        for each in statement.body:
            if isinstance(each, ast.ImportFrom):
                self._import_base(each)
            elif not isinstance(each, ast.Pass):
                self._other(each)

    def _import_base(self, statement: ast.ImportFrom) -> None:
        module = statement.module or ""
        location = self.location(statement)
        inner = module.replace(".", "/")
        for alias in statement.names:
            below = "../" * (statement.level - 1) + f"{inner or alias.name}.py"
            settings = self._read_base(below if statement.level else module, location)
            if alias.name == "*":
                self.names.update(settings)
            elif alias.name in settings:
                place = settings.lines.get(alias.name, location)
                self.names.put(alias.asname or alias.name, settings[alias.name], place)
            else:
                self.names[alias.asname or alias.name] = self.unread(statement)

    def _read_bases(self, value: Any, statement: ast.Assign) -> None:
        names = [value] if isinstance(value, str) else value
        if isinstance(names, Unread):
            raise ConfigError(f"{names.location}: _base_ must be paths that can be read, got {names.source}.")
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ConfigError(
                f"{self._path}: _base_ must be a path or a list of paths, got {value!r}. Correct the config."
            )
        for name in names:
            self.base.update(self._read_base(name, self.location(statement)))

    def _if(self, statement: ast.If) -> None:
        self.follow(statement.body if self.known(statement.test) else statement.orelse)

    def _for(self, statement: ast.For) -> None:
        items = self.known(statement.iter)
        require(not statement.orelse and isinstance(items, list | tuple))
        for item in list(items):
            self._bind(statement.target, item)
            self.follow(statement.body)

    def _bind(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self._put(self.names, target.id, value, target)
        elif isinstance(target, ast.Tuple | ast.List):
            is_known = isinstance(value, list | tuple)
            if is_known and len(value) != len(target.elts):
                raise ValueError(f"{len(value)} values for {len(target.elts)} names")
            for number, each in enumerate(target.elts):
                self._bind(each, value[number] if is_known else self.unread(target))
        elif isinstance(target, ast.Subscript | ast.Attribute):
            key = target.attr if isinstance(target, ast.Attribute) else self.known(target.slice)
            check_flat(key)
            self._put(self._container(target.value), key, value, target)
        else:
            raise NotHarmlessError

    def _put(self, container: Any, key: Any, value: Any, target: ast.expr) -> None:
        container[key] = value
        if isinstance(container, ConfigDict):
            container.lines[key] = self.location(target)

    def _container(self, node: ast.expr) -> Any:
        used = set(self.used)
        container = self.known(node)
        self.used = used
        require(isinstance(container, dict | list))
        return container


def _assigned_names(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement may assign or change."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
