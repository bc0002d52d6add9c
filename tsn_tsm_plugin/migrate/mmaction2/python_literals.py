"""Read the settings of a Python config file without running it.

MMAction2's configs are Python files that assign dictionaries. What is literal in them is read from the syntax
tree; what would have to be run is named and left out.
"""

import ast
import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.errors import ConfigError

_BASE = "_base_"
_DELETE = "_delete_"


class _NotLiteralError(Exception):
    """An expression that would have to be run."""


@dataclass
class LiteralConfig:
    """The settings of a file and its bases.

    Attributes:
        settings: Nested dictionaries, lists and plain values by name.
        skipped: What could not be read, each with file and line.
        helpers: Names that other settings were written with, such as ``lr`` in ``dict(lr=lr)``.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    helpers: set[str] = field(default_factory=set)


def read_literals(path: str | Path) -> LiteralConfig:
    """Read a config file and the files that it names in ``_base_``.

    Dictionaries of the same name are merged, as the original does; ``_delete_=True`` replaces one as a whole.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> folder = TemporaryDirectory()
        >>> config = Path(folder.name, "tsm.py")
        >>> _ = config.write_text("lr = 0.01; model = dict(depth=50); key = open('secret').read()")
        >>> literals = read_literals(config)
        >>> literals.settings
        {'lr': 0.01, 'model': {'depth': 50}}
        >>> literals.skipped  # a call is never made
        ["...tsm.py:1: open('secret').read() would have to be run"]

    Raises:
        ConfigError: If the file is missing or not Python, or if bases name each other in a circle. A missing
            base is only noted.
    """
    return _read_file(Path(path), above=())


def _read_file(path: Path, *, above: tuple[Path, ...]) -> LiteralConfig:
    """Read a file whose settings those of the files ``above`` go over."""
    if path.resolve() in above:
        circle = " -> ".join(each.name for each in (*above[above.index(path.resolve()) :], path))
        raise ConfigError(f"{path}: its bases name each other in a circle ({circle}). Take one {_BASE} out.")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not a Python config file ({error}).") from error
    own = LiteralConfig()
    for statement in tree.body:
        _read_statement(statement, own, path)
    merged = LiteralConfig(skipped=own.skipped, helpers=own.helpers)
    for base in _bases(own.settings.pop(_BASE, []), path):
        base_path = path.parent / base
        if not base_path.is_file():
            merged.skipped.append(f"{path}: the base {base} is not there; give it, or check the result")
            continue
        read = _read_file(base_path, above=(*above, path.resolve()))
        merged.skipped += read.skipped
        merged.helpers |= read.helpers
        merged.settings = _merge(merged.settings, read.settings)
    merged.settings = _merge(merged.settings, own.settings)
    return merged


def _bases(value: Any, path: Path) -> list[str]:
    bases = [value] if isinstance(value, str) else value
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: {_BASE} must be a path or a list of paths, got {value!r}. Mend it there.")
    return bases


def _read_statement(statement: ast.stmt, config: LiteralConfig, path: Path) -> None:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return  # A docstring.
    try:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            value = _evaluate(statement.value, config.settings)
            names = (node.id for node in ast.walk(statement.value) if isinstance(node, ast.Name))
            config.helpers |= config.settings.keys() & names
            _assign(statement.targets[0], value, config.settings)
            return
    except _NotLiteralError as error:
        config.skipped.append(f"{path}:{statement.lineno}: {error} would have to be run")
        return
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(
            f"{path}:{statement.lineno}: Python itself could not run this line ({error}). Mend it there."
        ) from error
    source = ast.unparse(statement).splitlines()[0]
    config.skipped.append(f"{path}:{statement.lineno}: {source} would have to be run")


def _assign(target: ast.expr, value: Any, settings: dict[str, Any]) -> None:
    if isinstance(target, ast.Name):
        settings[target.id] = value
        return
    if isinstance(target, ast.Subscript):
        container = _evaluate(target.value, settings)
        key = _evaluate(target.slice, settings)
        if isinstance(container, dict) and isinstance(target.value, ast.Name):
            settings[target.value.id] = {**container, key: value}
            return
    raise _NotLiteralError(ast.unparse(target))


def _evaluate(node: ast.expr, names: dict[str, Any]) -> Any:
    """Return the value of a literal, of ``dict(...)`` over literals, or of a name assigned before."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [_evaluate(each, names) for each in node.elts]
    if isinstance(node, ast.Dict):
        return _dictionary(zip(node.keys, node.values, strict=True), names)
    if isinstance(node, ast.Name) and node.id in names:
        return copy.deepcopy(names[node.id])
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict" and not node.args:
        return _dictionary(
            ((None if k.arg is None else ast.Constant(k.arg), k.value) for k in node.keywords), names
        )
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _evaluate(node.operand, names)
        if isinstance(value, int | float):
            return -value
    if isinstance(node, ast.BinOp):
        return _operate(node, names)
    if isinstance(node, ast.Subscript):
        try:
            return _evaluate(node.value, names)[_evaluate(node.slice, names)]
        except (KeyError, IndexError, TypeError):
            raise _NotLiteralError(ast.unparse(node)) from None
    raise _NotLiteralError(ast.unparse(node))


def _dictionary(pairs: Any, names: dict[str, Any]) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for key, value in pairs:
        if key is None:  # **other
            result |= _evaluate(value, names)
        else:
            result[_evaluate(key, names)] = _evaluate(value, names)
    return result


def _operate(node: ast.BinOp, names: dict[str, Any]) -> Any:
    left, right = _evaluate(node.left, names), _evaluate(node.right, names)
    are_numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if isinstance(node.op, ast.Add) and (
        are_numbers or (type(left) is type(right) and isinstance(left, str | list))
    ):
        return left + right
    if isinstance(node.op, ast.Mult) and (are_numbers or (isinstance(left, list) and type(right) is int)):
        return left * right
    if isinstance(node.op, ast.Div) and are_numbers and right:
        return left / right
    raise _NotLiteralError(ast.unparse(node))


def _merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for name, value in own.items():
        below = result.get(name)
        if isinstance(value, dict) and isinstance(below, dict) and not value.get(_DELETE, False):
            result[name] = _merge(below, value)
        elif isinstance(value, dict):
            result[name] = {key: each for key, each in value.items() if key != _DELETE}
        else:
            result[name] = value
    return result
