"""read_source, parse, find_base: the text of a config file, its syntax tree and its base files."""

import ast
import importlib.util
import os
import re
from pathlib import Path

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.paths import read_text

MAX_FILES = 64
MAX_BYTES = 1 << 20
_ENVIRONMENT = re.compile(r"\{\{['\"]?\s*\$(\w+)\s*:\s*([^\s'\"\\{}]*)\s*['\"]?\}\}")
_PLAIN = re.compile(r"[^\s'\"\\{}]*")
_LIBRARY = ("mmaction::", "mmaction.configs.")


def read_source(path: str | Path, notes: list[str]) -> str:
    """Return the text of a config file, with ``{{$NAME:default}}`` replaced.

    Args:
        path: The file, or its URL.
        notes: Receives the replaced and the missing environment variables.

    Raises:
        ConfigError: If the file cannot be read, is not a regular file, is too large, or is not UTF-8.
    """
    try:
        text = read_text(path, max_bytes=MAX_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}). Check the path.") from error

    def replace(match: re.Match[str]) -> str:
        name, default = match.groups()
        value = os.environ.get(name, default)
        if not _PLAIN.fullmatch(value):
            value = default
        source = "the environment" if value != default else "its default in the file"
        notes.append(f"{path}: ${name} is {value!r}, from {source}")
        return value

    return _ENVIRONMENT.sub(replace, text)


def parse(text: str, path: Path) -> ast.Module:
    """Return the syntax tree of a config file.

    Raises:
        ConfigError: If the text is not Python, or is nested too deeply.
    """
    try:
        return ast.parse(text, filename=str(path))
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{path}: is not a Python config file ({error}).") from error
    except (RecursionError, MemoryError) as error:
        raise ConfigError(
            f"{path}: is nested too deeply to be read. Write its values as they are."
        ) from error


def find_base(name: str, path: Path, library: Path | None) -> Path | None:
    """Return the file of a base; ``None`` if it is missing.

    Args:
        name: A path relative to the config, ``mmaction::PATH`` or ``mmaction.configs.MODULE``.
        path: Path of the config that names the base.
        library: Folder of MMAction2's configs.

    Raises:
        ConfigError: If the base is a config of MMAction2 or of another library that is not available.
    """
    if name.startswith(_LIBRARY):
        inner = name.removeprefix("mmaction::")
        if name.startswith("mmaction.configs."):
            inner = name.removeprefix("mmaction.configs.").replace(".", "/") + ".py"
        folders = [library] if library else _installed_configs()
        found = next((folder / inner for folder in folders if (folder / inner).is_file()), None)
        if found is None:
            looked = f" in {library}" if library else ""
            raise ConfigError(
                f"{path}: the base {name} belongs to MMAction2 and is not there{looked}. Run `git clone "
                "https://github.com/open-mmlab/mmaction2` and give --mmaction2-configs mmaction2/configs."
            )
        return found
    if "::" in name or "://" in name:
        raise ConfigError(
            f"{path}: the base {name} is not a file on this machine. Fetch it, and name its path in _base_."
        )
    found = path.parent / name
    return found if found.is_file() else None


def _installed_configs() -> list[Path]:
    """Return the folders with configs of an installed MMAction2, without importing it."""
    spec = importlib.util.find_spec("mmaction")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return [Path(folder, inner) for folder in folders for inner in (".mim/configs", "configs")]
