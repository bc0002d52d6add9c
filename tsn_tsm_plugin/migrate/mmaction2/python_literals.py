"""read_literals, LiteralConfig: the settings of a Python config file, read without running it.

MMAction2's configs are Python files that assign dictionaries. Each value is computed if harmless. A value
that needs the file's code to run is reported with its path and line; its siblings are kept.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.migrate.mmaction2.config_bases import MAX_FILES, find_base, parse, read_source
from tsn_tsm_plugin.migrate.mmaction2.config_statements import ConfigFile
from tsn_tsm_plugin.migrate.mmaction2.settings import BaseDict, ConfigDict
from tsn_tsm_plugin.migrate.mmaction2.values_of_expressions import Budget, Symbol, Unread

MAX_NODES = 20_000
MAX_DEPTH = 40
_DELETE = "_delete_"
# Keys whose value names a class or a function.
_NAMES_A_CLASS = ("type", "constructor")


@dataclass
class LiteralConfig:
    """The settings of a file and its bases.

    Attributes:
        settings: Nested dictionaries, lists and plain values by name; dictionaries know the lines of items.
        skipped: Settings that could not be read, each with file, line and path.
        helpers: Names that other settings refer to, such as ``lr`` in ``dict(lr=lr)``.
    """

    settings: dict[str, Any] = field(default_factory=ConfigDict)
    skipped: list[str] = field(default_factory=list)
    helpers: set[str] = field(default_factory=set)


def read_literals(path: str | Path, *, library: Path | None = None) -> LiteralConfig:
    """Read a config file and its bases: ``_base_`` and ``with read_base():``.

    Dictionaries of the same name are merged, as in MMAction2; ``_delete_=True`` replaces a whole dictionary.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> folder = TemporaryDirectory()
        >>> config = Path(folder.name, "tsm.py")
        >>> _ = config.write_text("lr = 0.01; model = dict(depth=50, key=open('secret').read())")
        >>> literals = read_literals(config)
        >>> literals.settings
        {'lr': 0.01, 'model': {'depth': 50}}
        >>> literals.skipped  # a call is never made
        ["...tsm.py:1: model.key: open('secret').read() would have to be run"]

    Args:
        path: The config file.
        library: Folder of MMAction2's configs, for bases such as ``mmaction::_base_/models/tsm_r50.py``.

    Raises:
        ConfigError: If the file or a base of MMAction2 is missing; another missing base is only noted.
            If the file is not Python, bases form a cycle, or reading exceeds its bounds.
    """
    reader = _Reader(Path(path), library)
    config = reader.config
    config.settings = _readable(reader.file(Path(path), above=()), "", config.skipped)
    config.settings.pop("_base_", None)
    return config


class _Reader:
    """Reads one config with its bases."""

    def __init__(self, path: Path, library: Path | None) -> None:
        self.config = LiteralConfig()
        self._library = library
        self._budget = Budget(path)
        self._num_files = 0

    def file(self, path: Path, *, above: tuple[Path, ...]) -> ConfigDict:
        """Return the settings of a file and its bases; ``above`` are the files that led to it."""
        if path.resolve() in above:
            circle = " -> ".join(each.name for each in (*above[above.index(path.resolve()) :], path))
            raise ConfigError(
                f"{path}: its bases name each other in a circle ({circle}). Take one _base_ out."
            )
        self._num_files += 1
        if self._num_files > MAX_FILES:
            raise ConfigError(f"{path}: a config must not have more than {MAX_FILES} base files. Join some.")

        def read_base(name: str, location: str) -> ConfigDict:
            found = find_base(name, path, self._library)
            if found is None:
                self.config.skipped.append(
                    f"{location}: the base {name} is not there; give it, or check the result"
                )
                return ConfigDict()
            return _as_base(self.file(found, above=(*above, path.resolve())))

        source = read_source(path, self.config.skipped)
        config = ConfigFile(path, source, self._budget, read_base)
        config.follow(parse(source, path).body)
        self.config.skipped += config.notes
        self.config.helpers |= config.used
        own = ConfigDict(
            (name, self._copy(value, 0, [MAX_NODES], config.names.lines.get(name, f"{path}:1")))
            for name, value in config.names.items()
            if not isinstance(value, Symbol) and not name.startswith("__")
        )
        return _merge(config.base, own.located_as(config.names))

    def _copy(self, value: Any, depth: int, left: list[int], location: str, key: Any = None) -> Any:
        """Return a copy of a value with lists for tuples; too large values stay unread."""
        self._budget.spend()
        left[0] -= 1
        if depth > MAX_DEPTH or left[0] < 0:
            return Unread(location, "a value that is too large or too deep")
        if isinstance(value, dict):
            items = {name: self._copy(each, depth + 1, left, location, name) for name, each in value.items()}
            return ConfigDict(items).located_as(value)
        if isinstance(value, list | tuple):
            return [self._copy(each, depth + 1, left, location) for each in value]
        if isinstance(value, Symbol):
            is_class = key in _NAMES_A_CLASS
            return value.name.rpartition(".")[2] if is_class else Unread(value.location, value.name)
        return value


def _as_base(value: Any) -> Any:
    if isinstance(value, dict):
        return BaseDict((key, _as_base(each)) for key, each in value.items()).located_as(value)
    return [_as_base(each) for each in value] if isinstance(value, list) else value


def _readable(value: Any, path: str, lost: list[str]) -> Any:
    """Return a value without its unread parts, which are reported by path."""
    if not isinstance(value, dict | list):
        return value
    is_dict = isinstance(value, dict)
    pairs: Any = value.items() if isinstance(value, dict) else enumerate(value)
    read: list[tuple[Any, Any]] = []
    for name, each in pairs:
        inner = f"{path}.{name}".removeprefix(".") if is_dict else f"{path}[{name}]"
        hole = _hole_in(each)
        if hole is None:
            read.append((name, _readable(each, inner, lost)))
        else:
            lost.append(f"{hole.location}: {inner}: {hole.source} would have to be run")
    return ConfigDict(read).located_as(value) if is_dict else [each for _, each in read]


def _hole_in(value: Any) -> Unread | None:
    """Return an unread value, also of a list of numbers or texts, which it makes unusable."""
    if isinstance(value, Unread):
        return value
    if not isinstance(value, list) or any(isinstance(each, dict) for each in value):
        return None
    return next((hole for hole in map(_hole_in, value) if hole is not None), None)


def _merge(base: Any, own: dict[Any, Any]) -> ConfigDict:
    result = ConfigDict(base).located_as(own)
    for name, value in own.items():
        below = result.get(name)
        if isinstance(value, dict):
            is_replaced = not isinstance(below, dict) or value.get(_DELETE, False)
            result[name] = _merge({} if is_replaced else below, value)
        elif name != _DELETE:
            result[name] = value
    return result
