"""Builds a frozen config from the schema, a recipe with its bases, and overrides from the command line."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tsn_tsm_plugin.config.check import faults_of
from tsn_tsm_plugin.config.defaults import get_cfg
from tsn_tsm_plugin.config.node import CfgNode
from tsn_tsm_plugin.config.source import Setting, read_settings
from tsn_tsm_plugin.config.values import WrongTypeError, coerce
from tsn_tsm_plugin.errors import ConfigError

_COMMAND_LINE = "command line"


def load_cfg(path: str | Path, opts: Sequence[str] = ()) -> CfgNode:
    """Return the frozen config of a recipe.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> folder = TemporaryDirectory()
        >>> recipe = Path(folder.name, "mine_r18_8f.yaml")
        >>> _ = recipe.write_text("MODEL: {ARCH: tsm, BACKBONE: resnet18, NUM_CLASSES: 8}")
        >>> cfg = load_cfg(recipe, ["SOLVER.BASE_LR", "0.005", "TSM.CAUSAL=True"])
        >>> cfg.MODEL.BACKBONE, cfg.SOLVER.BASE_LR, cfg.TSM.CAUSAL, cfg.OUTPUT_DIR
        ('resnet18', 0.005, True, 'runs/tsm/mine_r18_8f')
        >>> load_cfg(recipe, ["SOLVER.BASE_LRR", "0.005"])
        Traceback (most recent call last):
            ...
        tsn_tsm_plugin.errors.ConfigError: ... SOLVER.BASE_LRR is not a key; did you mean SOLVER.BASE_LR?

    Args:
        path: YAML file. It and its ``_BASE_`` files are merged into the schema, the file itself last.
        opts: Overrides, ``["KEY", "VALUE", ...]`` or ``["KEY=VALUE", ...]`` or both mixed; values are text.

    Returns:
        The config. An empty ``OUTPUT_DIR`` has become ``runs/<method>/<name of the recipe>``.

    Raises:
        ConfigError: Naming every wrong key, type and rule at once, with file and line, and the nearest key.
    """
    cfg = get_cfg()
    settings = [*read_settings(str(path)), *_parse_overrides(opts)]
    faults = [fault for setting in settings if (fault := _apply(cfg, setting))]
    _apply_protocol(cfg)
    last = {setting.key: setting.place for setting in settings}
    faults += [f"{last.get(key, 'default')}: {key} {message}" for key, message in faults_of(cfg)]
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise ConfigError(f"{path}: {count}\n" + "\n".join(f"  {fault}" for fault in faults))
    if not cfg.OUTPUT_DIR:
        cfg.OUTPUT_DIR = str(Path("runs") / cfg.MODEL.ARCH / PurePosixPath(path).stem)
    cfg.freeze()
    return cfg


def keys_of(node: CfgNode, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of a config that holds a value."""
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from keys_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _parse_overrides(opts: Sequence[str]) -> list[Setting]:
    settings: list[Setting] = []
    words = iter([str(opt) for opt in opts])
    for word in words:
        key, separator, text = word.partition("=")
        if not separator:
            text = next(words, "")
            if text == "" and word == str(opts[-1]):
                raise ConfigError(
                    f"override {word} has no value. Write `{word} VALUE` or `{word}=VALUE`; "
                    f"an empty text is `{word}=`."
                )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        settings.append(Setting(key, value, None if isinstance(value, list) else text, _COMMAND_LINE))
    return settings


def _apply(cfg: CfgNode, setting: Setting) -> str | None:
    """Write a setting into the config; return the fault where it does not fit."""
    *parents, name = setting.key.split(".")
    node: Any = cfg
    for parent in parents:
        node = node.get(parent) if isinstance(node, CfgNode) else None
    if not isinstance(node, CfgNode) or name not in node:
        return f"{setting.place}: {setting.key} is not a key{_nearest(setting.key, cfg)}"
    if isinstance(node[name], CfgNode):
        if setting.value in (None, {}):
            return None
        keys = ", ".join(node[name])
        return f"{setting.place}: {setting.key} holds keys ({keys}), it cannot be set to {setting.value!r}"
    try:
        node[name] = coerce(setting.value, setting.text, node[name])
    except WrongTypeError as error:
        return f"{setting.place}: {setting.key} {error}"
    return None


def _apply_protocol(cfg: CfgNode) -> None:
    if cfg.TEST.PROTOCOL == "efficient":
        cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS = 1, 1
        cfg.DATA.TEST_CROP_SIZE = cfg.DATA.TRAIN_CROP_SIZE
    elif cfg.TEST.PROTOCOL == "accurate":
        cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS = 2, 3
        cfg.DATA.TEST_CROP_SIZE = cfg.DATA.TEST_SHORT_SIDE


def _nearest(key: str, cfg: CfgNode) -> str:
    keys = list(keys_of(cfg))
    nearest = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    leaf = key.rsplit(".", 1)[-1]
    same_leaf = [candidate for candidate in keys if candidate.rsplit(".", 1)[-1] == leaf]
    found = same_leaf or nearest
    return f"; did you mean {' or '.join(found)}?" if found else ""


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of a recipe's tree by dotted key."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
