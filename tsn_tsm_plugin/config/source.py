"""Setting, SettingsReader: a YAML file and its bases as a flat list of settings with their locations."""

import posixpath
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tsn_tsm_plugin.config.recipes import find_recipe, near_recipes
from tsn_tsm_plugin.config.yaml_text import MAX_CHARACTERS, compose, construct
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.paths import read_text

MAX_FILES = 64
_MAX_BYTES = 4 * MAX_CHARACTERS
BASE_KEY = "_BASE_"


@dataclass(frozen=True)
class Setting:
    """One ``key: value`` of a file.

    Attributes:
        key: Dotted key, e.g. ``"SOLVER.BASE_LR"``.
        value: The value as parsed by YAML.
        text: Source text of a plain value; ``None`` for lists.
        location: ``file:line``, or the command line.
    """

    key: str
    value: Any
    text: str | None
    location: str


class SettingsReader:
    """Collects the settings of a recipe, its bases first, and all its faults.

    ``_BASE_`` is a path, a list of paths or the name of a recipe. Paths are relative to the file that names
    them; ``~`` and every iopath prefix work. An empty file has no settings.

    Args:
        options: Keys that hold keyword arguments; each of their mappings is a single value.

    Attributes:
        settings: Settings in the order in which they apply: later settings override earlier settings.
        faults: Unreadable parts, each with its location.
    """

    def __init__(self, options: Collection[str] = ()) -> None:
        self.settings: list[Setting] = []
        self.faults: list[str] = []
        self._options = options
        self._num_files = 0

    def read(self, path: str, *, text: str | None = None) -> None:
        """Read a recipe and its bases.

        Args:
            path: The file.
            text: Text of the recipe, if already read; ``path`` serves messages and relative paths.

        Raises:
            ConfigError: If the file is missing, is not YAML, or holds no keys; faults of bases are collected.
        """
        self._read(path, chain=(), text=text)

    def read_whole(self, text: str, name: str) -> None:
        """Read a config that names no other file.

        Args:
            text: YAML.
            name: Name of the config in messages.

        Raises:
            ConfigError: If the text is not YAML, or holds no keys.
        """
        root = _parse(text, name)
        if root is not None:
            self._flatten(root, name, prefix="", lines={})

    def _read(self, path: str, *, chain: tuple[str, ...], text: str | None = None) -> None:
        self._num_files += 1
        if self._num_files > MAX_FILES:
            raise ConfigError(
                f"{chain[0]}: a recipe must not read more than {MAX_FILES} files through {BASE_KEY}. "
                "Join some."
            )
        if text is None:
            text = _read_text(path, named_by=chain[-1] if chain else "")
        root = _parse(text, path)
        if root is None:
            return
        for key_node, value_node in root.value:
            if key_node.value == BASE_KEY:
                for base in self._bases(value_node, path):
                    self._read_base(find_recipe(_beside(base, path), named=base), (*chain, path))
        self._flatten(root, path, prefix="", lines={})

    def _read_base(self, path: str, chain: tuple[str, ...]) -> None:
        if path in chain:
            circle = " -> ".join((*chain[chain.index(path) :], path))
            self.faults.append(
                f"{BASE_KEY} must not form a circle, got {circle}. Remove one of these {BASE_KEY} lines."
            )
            return
        try:
            self._read(path, chain=chain)
        except ConfigError as error:
            if self._num_files > MAX_FILES:
                raise
            self.faults.append(str(error))

    def _bases(self, node: yaml.Node, path: str) -> list[str]:
        names = self._construct(node, path)
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            self.faults.append(
                f"{_location(node, path)}: {BASE_KEY} must be a path or a list of paths, got {names!r}."
            )
            return []
        return names

    def _flatten(self, node: yaml.MappingNode, path: str, *, prefix: str, lines: dict[str, int]) -> None:
        for key_node, value_node in node.value:
            location = _location(key_node, path)
            if not isinstance(key_node, yaml.ScalarNode):
                self.faults.append(f"{location}: a key must be a word, got a {key_node.id}.")
                continue
            key = f"{prefix}{key_node.value}"
            if key in lines:
                self.faults.append(f"{location}: {key} is set twice, first in line {lines[key]}. Keep one.")
                continue
            lines[key] = key_node.start_mark.line + 1
            if key == BASE_KEY:
                continue
            is_node = isinstance(value_node, yaml.MappingNode) and value_node.value
            if is_node and key not in self._options:
                self._flatten(value_node, path, prefix=f"{key}.", lines=lines)
            else:
                text = value_node.value if isinstance(value_node, yaml.ScalarNode) else None
                num_faults = len(self.faults)
                value = self._construct(value_node, path)
                if len(self.faults) == num_faults:
                    self.settings.append(Setting(key, value, text, location))

    def _construct(self, node: yaml.Node, path: str) -> Any:
        try:
            return construct(node)
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", None) or str(error)
            self.faults.append(
                f"{_location(node, path)}: {problem}; a recipe may hold plain values and lists only."
            )
            return None


def _read_text(path: str, *, named_by: str) -> str:
    source = f", named as {BASE_KEY} in {named_by}" if named_by else ""
    try:
        return read_text(path, max_bytes=_MAX_BYTES)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file{source + '.' if source else near_recipes(path)}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read{source} ({error.strerror or error}).") from error


def _parse(text: str, path: str) -> yaml.MappingNode | None:
    try:
        root = compose(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{path}{line}: not valid YAML: {problem}.") from error
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}: a recipe must be `KEY: value` lines, got a {root.id}.")
    return root


def _beside(base: str, path: str) -> str:
    """Resolve a base's path against the file that names it."""
    if base.startswith("~"):
        return str(Path(base).expanduser())
    if "://" in base or PurePosixPath(base).is_absolute():
        return base
    scheme, separator, rest = path.rpartition("://")
    # Normalise, so that a file has a single name and circular bases are detected.
    return scheme + separator + posixpath.normpath(PurePosixPath(rest).parent / base)


def _location(node: yaml.Node, path: str) -> str:
    return f"{path}:{node.start_mark.line + 1}"
