"""Reads a YAML file and its bases as a flat list of settings, each with the place it was written at."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from iopath.common.file_io import g_pathmgr

from tsn_tsm_plugin.errors import ConfigError

BASE_KEY = "_BASE_"


@dataclass(frozen=True)
class Setting:
    """One ``key: value`` as somebody wrote it.

    Attributes:
        key: Dotted key, e.g. ``"SOLVER.BASE_LR"``.
        value: The value as YAML understands it.
        text: What was written, for a plain value; ``None`` for lists.
        place: ``file:line``, or the command line.
    """

    key: str
    value: Any
    text: str | None
    place: str


def read_settings(path: str) -> list[Setting]:
    """Return the settings of a file, those of its bases first, so that a later one overrides an earlier one.

    ``_BASE_`` is a path or a list of paths, each relative to the file that names it; ``~`` and every iopath
    prefix work. An empty file has no settings.

    Args:
        path: The YAML file.

    Raises:
        ConfigError: If a file is missing, is not YAML, repeats a key, or bases form a circle.
    """
    return _read(path, chain=())


def _read(path: str, *, chain: tuple[str, ...]) -> list[Setting]:
    if path in chain:
        circle = " -> ".join((*chain[chain.index(path) :], path))
        raise ConfigError(
            f"{BASE_KEY} must not form a circle, got {circle}. Remove one of these {BASE_KEY} lines."
        )
    root = _compose(path, named_by=chain[-1] if chain else None)
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}: a recipe must be `KEY: value` lines, got a {root.id}.")
    settings: list[Setting] = []
    for key_node, value_node in root.value:
        if key_node.value == BASE_KEY:
            for base in _bases(value_node, path):
                settings += _read(_beside(base, path), chain=(*chain, path))
    return settings + _flatten(root, path, prefix="")


def _compose(path: str, *, named_by: str | None) -> yaml.Node | None:
    source = f", named as {BASE_KEY} in {named_by}" if named_by else ""
    try:
        with g_pathmgr.open(path, "r") as file:
            return yaml.compose(file, Loader=yaml.SafeLoader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file{source}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read{source}: {error}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{path}{line}: not valid YAML: {problem}.") from error


def _bases(node: yaml.Node, path: str) -> list[str]:
    names = _construct(node, path)
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"{_place(node, path)}: {BASE_KEY} must be a path or a list of paths, got {names!r}."
        )
    return names


def _beside(base: str, path: str) -> str:
    """Resolve a base's path against the file that names it."""
    if base.startswith("~"):
        return str(Path(base).expanduser())
    if "://" in base or PurePosixPath(base).is_absolute():
        return base
    scheme, separator, rest = path.rpartition("://")
    return scheme + separator + _normalise(PurePosixPath(rest).parent / base)


def _normalise(path: PurePosixPath) -> str:
    """Fold ``a/../b`` to ``b``, so that one file has one name in errors and circles are seen."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts and parts[-1] not in ("..", "/"):
            parts.pop()
        else:
            parts.append(part)
    return str(PurePosixPath(*parts))


def _flatten(node: yaml.MappingNode, path: str, *, prefix: str) -> list[Setting]:
    settings: list[Setting] = []
    first_line: dict[str, int] = {}
    for key_node, value_node in node.value:
        name = str(key_node.value)
        line = key_node.start_mark.line + 1
        if name in first_line:
            raise ConfigError(
                f"{path}:{line}: {prefix}{name} is set twice, first in line {first_line[name]}. Keep one."
            )
        first_line[name] = line
        if not prefix and name == BASE_KEY:
            continue
        if isinstance(value_node, yaml.MappingNode) and value_node.value:
            settings += _flatten(value_node, path, prefix=f"{prefix}{name}.")
        else:
            text = value_node.value if isinstance(value_node, yaml.ScalarNode) else None
            settings.append(
                Setting(f"{prefix}{name}", _construct(value_node, path), text, _place(key_node, path))
            )
    return settings


def _construct(node: yaml.Node, path: str) -> Any:
    try:
        return yaml.SafeLoader("").construct_document(node)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(
            f"{_place(node, path)}: {problem}; a recipe may hold plain values and lists only."
        ) from error


def _place(node: yaml.Node, path: str) -> str:
    return f"{path}:{node.start_mark.line + 1}"
