"""choose_run_dir, is_same_run: the run folder of a recipe without OUTPUT_DIR."""

import itertools
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tsn_tsm_plugin.config.defaults import KEYS, flatten
from tsn_tsm_plugin.config.key import FREE, Key
from tsn_tsm_plugin.config.node import CfgNode
from tsn_tsm_plugin.config.yaml_text import compose, construct
from tsn_tsm_plugin.paths import read_text

CONFIG_FILE = "config.yaml"
_CLIPS = "TRAIN.MAX_CLIPS_PER_FORWARD"


def choose_run_dir(cfg: CfgNode, recipe: str) -> str:
    """Return ``runs/<method>/<name of the recipe>``, with a number if the folder is another recipe's.

    A folder belongs to the recipe whose settings are in its ``config.yaml``, apart from settings that do not
    affect training. An unchanged recipe therefore finds its own run, finished or not. A changed recipe gets
    the next free number: ``motion_r18_8f_2``.

    Args:
        cfg: The recipe's settings; ``OUTPUT_DIR`` is empty.
        recipe: Path or name of the recipe.
    """
    base = Path("runs") / cfg.MODEL.ARCH / PurePosixPath(recipe).stem
    for number in itertools.count(1):
        folder = base if number == 1 else base.with_name(f"{base.name}_{number}")
        file = _config_file(folder)
        if file is None or is_same_run(cfg, file):
            return str(folder)
    raise AssertionError("unreachable")


def is_same_run(cfg: CfgNode, file: Path) -> bool:
    """Return whether the run with this config file has the same settings of training."""
    saved, asked = _read(file), _values(cfg.dump())
    if asked.get(_CLIPS, 1) <= 0:  # A run records the number of clips that fit.
        asked[_CLIPS] = saved.get(_CLIPS)
    return bool(saved) and all(
        saved[key.name] == asked[key.name]
        for key in KEYS.values()
        if key.name in saved and _steers_training(key)
    )


def _steers_training(key: Key) -> bool:
    return key.on_resume != FREE and not key.name.startswith("TEST.")


def _config_file(folder: Path) -> Path | None:
    """Return the settings of the run in a folder, or of its last submission."""
    submitted = sorted((folder / "launch").glob(f"*/{CONFIG_FILE}"))
    return next((file for file in (folder / CONFIG_FILE, *submitted[::-1]) if file.is_file()), None)


def _read(file: Path) -> dict[str, Any]:
    """Return the values of a config file by key; empty if the file is damaged."""
    try:
        return _values(read_text(file))
    except (OSError, yaml.YAMLError):
        return {}


def _values(text: str) -> dict[str, Any]:
    node = compose(text)
    return flatten(construct(node)) if isinstance(node, yaml.MappingNode) else {}
