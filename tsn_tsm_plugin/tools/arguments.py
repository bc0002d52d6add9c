"""count, seconds, path_here, check_exists: numbers in a range and paths among the arguments of tools."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from tsn_tsm_plugin.checkpoints.zoo import is_fetched, zoo_hint
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.paths import is_url, printable


def count(least: int = 1) -> Callable[[str], int]:
    """Return an argparse type for whole numbers of at least ``least``."""

    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, got {text}")
        return value

    return whole_number


def seconds(*, zero: bool = False) -> Callable[[str], float]:
    """Return an argparse type for times, finite and above 0.

    Args:
        zero: Whether 0 is allowed.
    """

    def duration(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
            rule = "of at least 0" if zero else "above 0"
            raise argparse.ArgumentTypeError(f"must be a number of seconds {rule}, got {text}")
        return value

    return duration


def path_here(text: str) -> Path:
    """Parse a path of this machine: an output, or a folder with many files; a URL is refused."""
    if is_url(text):
        raise argparse.ArgumentTypeError(
            f"must be a path of this machine, got {text}: copy from there before, or to there afterwards"
        )
    return Path(text)


def check_exists(path: str) -> None:
    """Refuse a local path of an input that does not exist, before PyTorch is imported.

    Args:
        path: A path, a URL or a row of the model zoo.

    Raises:
        ConfigError: If a local path does not exist.
    """
    if is_fetched(path):
        return
    try:
        Path(path).expanduser().stat()
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{printable(path)} does not exist: give a file, a run folder or a URL.{zoo_hint(path)}"
        ) from None
    except (OSError, ValueError):
        pass  # The reader names the fault.
