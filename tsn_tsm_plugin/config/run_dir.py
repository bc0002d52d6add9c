"""choose_run_dir, is_same_run, changed_settings: the run that a recipe belongs to, by its settings."""

import itertools
from pathlib import Path, PurePosixPath

import yaml

from tsn_tsm_plugin.config.defaults import KEYS, flatten
from tsn_tsm_plugin.config.key import FREE
from tsn_tsm_plugin.config.node import CfgNode
from tsn_tsm_plugin.config.yaml_text import parse
from tsn_tsm_plugin.paths import read_text

CONFIG_FILE = "config.yaml"
AUTO_CLIPS = -1
MAX_CLIPS = "TRAIN.MAX_CLIPS_PER_FORWARD"


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
    try:
        changed = changed_settings(read_text(file), cfg.dump())
    except (OSError, yaml.YAMLError, AttributeError):  # The file is damaged.
        return False
    # With 0, a run that resumes on fewer processes records its clips.
    other = ("TEST.",) if cfg.TRAIN.MAX_CLIPS_PER_FORWARD else ("TEST.", MAX_CLIPS)
    return all(key.startswith(other) for key in changed)


def changed_settings(saved: str, config: str) -> dict[str, str]:
    """Return the relevant differences between two configs by key, as ``KEY: old -> new``.

    Args:
        saved: The config of a run or a checkpoint, YAML.
        config: The current config, YAML.
    """
    before, now = flatten(parse(saved)), flatten(parse(config))
    if now.get(MAX_CLIPS) == AUTO_CLIPS:  # A run records the number of clips that fit.
        now[MAX_CLIPS] = before.get(MAX_CLIPS)
    return {
        key.name: f"{key.name}: {before[key.name]!r} -> {now[key.name]!r}"
        for key in KEYS.values()
        if key.name in before and before[key.name] != now[key.name] and key.on_resume != FREE
    }


def _config_file(folder: Path) -> Path | None:
    """Return the settings of the run in a folder, or of its last submission."""
    submitted = sorted((folder / "launch").glob(f"*/{CONFIG_FILE}"))
    return next((file for file in (folder / CONFIG_FILE, *submitted[::-1]) if file.is_file()), None)
