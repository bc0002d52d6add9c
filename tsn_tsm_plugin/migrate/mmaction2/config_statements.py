"""ConfigFile: execute the harmless statements of one config file on plain values."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.migrate.mmaction2.config_dict import ConfigDict
from tsn_tsm_plugin.migrate.mmaction2.harmless_calls import NotHarmlessError, bounded, check_flat
from tsn_tsm_plugin.migrate.mmaction2.values_of_expressions import Budget, Evaluator, Symbol, Unread

ReadBase = Callable[[str, str], ConfigDict]


class ConfigFile:
    """The assignments of one file, followed in order.

    Args:
        path: Path of the file.
        text: Text of the file.
        budget: Budget shared with the file's bases.

    Attributes:
        names: Assigned values, by name.
        base: Settings of the bases in ``_base_``.
        notes: Statements that were not followed, each with its location.
        helpers: Names that other values refer to.
    """

    def __init__(self, path: Path, text: str, budget: Budget) -> None:
        self._path, self._budget = path, budget
        self._evaluator = Evaluator(str(path), text, budget)
        self._evaluator.variables = {
            "fileDirname": str(path.parent.resolve()),
            "fileBasename": path.name,
            "fileBasenameNoExtension": path.stem,
            "fileExtname": path.suffix,
        }
        self.names = self._evaluator.names
        self.notes: list[str] = []
        self.base = self._evaluator.base
        self.helpers: set[str] = set()

    def run(self, tree: ast.Module, read_base: ReadBase) -> None:
        """Follow the statements of a file.

        Args:
            tree: Syntax tree of the file.
            read_base: Returns the settings of a base, from its name and the location of the reference.

        Raises:
            ConfigError: If Python could not run a line, or a bound is exceeded.
        """
        self._read_base = read_base
        self._follow(tree.body)
        self.helpers = self._evaluator.used

    def _follow(self, statements: list[ast.stmt]) -> None:
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
                    f"{self._location(statement)}: Python could not run this line ({error}). Correct it."
                ) from error

    def _other(self, statement: ast.stmt) -> None:
        """Report a statement that is not followed; mark its targets as unread."""
        lost = self._evaluator.unread(statement)
        names = set(_assigned_names(statement))
        for name in names:
            self.names[name] = lost
        if not names:
            self.notes.append(f"{lost.location}: {lost.source} would have to be run")

    def _location(self, statement: ast.stmt) -> str:
        return self._evaluator.location(statement)

    def _pass(self, statement: ast.Pass) -> None:
        pass

    def _assert(self, statement: ast.Assert) -> None:
        pass

    def _expr(self, statement: ast.Expr) -> None:
        call = statement.value
        if isinstance(call, ast.Constant):
            return  # A docstring.
        used = set(self._evaluator.used)
        self._evaluator.known(call)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            root = next((node.id for node in ast.walk(call.func) if isinstance(node, ast.Name)), "")
            if root not in used:
                self._evaluator.used.discard(root)

    def _assign(self, statement: ast.Assign) -> None:
        is_bases = any(isinstance(each, ast.Name) and each.id == "_base_" for each in statement.targets)
        value = self._evaluator.value(statement.value)
        if is_bases:
            self._read_bases(value, statement)
            return
        for target in statement.targets:
            self._bind(target, value)

    def _annassign(self, statement: ast.AnnAssign) -> None:
        if statement.value is not None:
            self._bind(statement.target, self._evaluator.value(statement.value))

    def _augassign(self, statement: ast.AugAssign) -> None:
        target = statement.target
        before = self._evaluator.known(target)
        value = self._evaluator.known(statement.value)
        if isinstance(before, list) and isinstance(statement.op, ast.Add):
            before += value
            bounded(before)
        else:
            self._bind(target, bounded(self._evaluator.operate(statement.op, before, value)))

    def _delete(self, statement: ast.Delete) -> None:
        for target in statement.targets:
            if isinstance(target, ast.Name):
                del self.names[target.id]
            elif isinstance(target, ast.Subscript):
                del self._evaluator.known(target.value)[self._evaluator.known(target.slice)]
            else:
                raise NotHarmlessError

    def _import(self, statement: ast.Import) -> None:
        for alias in statement.names:
            name = alias.name if alias.asname else alias.name.partition(".")[0]
            self.names[alias.asname or name] = Symbol(name, self._location(statement))

    def _importfrom(self, statement: ast.ImportFrom) -> None:
        for alias in statement.names:
            if alias.name == "*":
                self._evaluator.has_star_import = True
            else:
                self.names[alias.asname or alias.name] = Symbol(
                    f"{statement.module}.{alias.name}", self._location(statement)
                )

    def _with(self, statement: ast.With) -> None:
        call = statement.items[0].context_expr
        name = getattr(call, "func", None)
        if len(statement.items) != 1 or getattr(name, "id", getattr(name, "attr", "")) != "read_base":
            raise NotHarmlessError
        for each in statement.body:
            if isinstance(each, ast.ImportFrom):
                self._import_base(each)
            elif not isinstance(each, ast.Pass):
                self._other(each)

    def _import_base(self, statement: ast.ImportFrom) -> None:
        module = statement.module or ""
        location = self._location(statement)
        inner = module.replace(".", "/")
        for alias in statement.names:
            if statement.level:
                name = "../" * (statement.level - 1) + (f"{inner}.py" if inner else f"{alias.name}.py")
            else:
                name = module
            settings = self._read_base(name, location)
            if alias.name == "*":
                self.names.update(settings)
            elif alias.name in settings:
                location = settings.lines.get(alias.name, location)
                self.names.put(alias.asname or alias.name, settings[alias.name], location)
            else:
                self.names[alias.asname or alias.name] = self._evaluator.unread(statement)

    def _read_bases(self, value: Any, statement: ast.Assign) -> None:
        names = [value] if isinstance(value, str) else value
        if isinstance(names, Unread):
            raise ConfigError(f"{names.location}: _base_ must be paths that can be read, got {names.source}.")
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ConfigError(
                f"{self._path}: _base_ must be a path or a list of paths, got {value!r}. Correct the config."
            )
        for name in names:
            settings = self._read_base(name, self._location(statement))
            self.base.update(settings)

    def _if(self, statement: ast.If) -> None:
        self._follow(statement.body if self._evaluator.known(statement.test) else statement.orelse)

    def _for(self, statement: ast.For) -> None:
        items = self._evaluator.known(statement.iter)
        if statement.orelse or not isinstance(items, list | tuple):
            raise NotHarmlessError
        for item in list(items):
            self._bind(statement.target, item)
            self._follow(statement.body)

    def _bind(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self._put(self.names, target.id, value, target)
        elif isinstance(target, ast.Tuple | ast.List):
            is_known = isinstance(value, list | tuple)
            if is_known and len(value) != len(target.elts):
                raise ValueError(f"{len(value)} values for {len(target.elts)} names")
            for number, each in enumerate(target.elts):
                self._bind(each, value[number] if is_known else self._evaluator.unread(target))
        elif isinstance(target, ast.Subscript):
            key = self._evaluator.known(target.slice)
            check_flat(key)
            self._put(self._container(target.value), key, value, target)
        elif isinstance(target, ast.Attribute):
            self._put(self._container(target.value), target.attr, value, target)
        else:
            raise NotHarmlessError

    def _put(self, container: Any, key: Any, value: Any, target: ast.expr) -> None:
        container[key] = value
        if isinstance(container, ConfigDict):
            container.lines[key] = self._evaluator.location(target)

    def _container(self, node: ast.expr) -> Any:
        used = set(self._evaluator.used)
        container = self._evaluator.known(node)
        self._evaluator.used = used
        if not isinstance(container, dict | list):
            raise NotHarmlessError
        return container


def _assigned_names(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement may assign or change."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
