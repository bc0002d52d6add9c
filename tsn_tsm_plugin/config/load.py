"""load_cfg: merge the schema, a recipe with its bases, and command-line overrides into a frozen config."""

import difflib
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from tsn_tsm_plugin.config.check import validate
from tsn_tsm_plugin.config.defaults import FORMER_KEYS, KEYS, get_cfg, node_of
from tsn_tsm_plugin.config.node import CfgNode, OptionsNode
from tsn_tsm_plugin.config.recipes import find_recipe
from tsn_tsm_plugin.config.run_dir import choose_run_dir
from tsn_tsm_plugin.config.source import Setting, SettingsReader
from tsn_tsm_plugin.config.values import WrongTypeError, coerce
from tsn_tsm_plugin.config.yaml_text import parse
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)

_COMMAND_LINE = "command line"
_OPTIONS = frozenset(key.name for key in KEYS.values() if key.is_options)


def load_cfg(path: str | Path, opts: Sequence[str] = (), *, text: str | None = None) -> CfgNode:
    """Return the frozen config of a recipe.

    Example:
        >>> recipe = "MODEL: {ARCH: tsm, BACKBONE: resnet18, NUM_CLASSES: 8}"
        >>> cfg = load_cfg("mine_r18_8f.yaml", ["SOLVER.BASE_LR", "0.005", "TSM.CAUSAL=True"], text=recipe)
        >>> cfg.MODEL.BACKBONE, cfg.SOLVER.BASE_LR, cfg.TSM.CAUSAL, cfg.OUTPUT_DIR
        ('resnet18', 0.005, True, 'runs/tsm/mine_r18_8f')
        >>> load_cfg("mine_r18_8f.yaml", ["SOLVER.BASE_LRR", "0.005"], text=recipe)
        Traceback (most recent call last):
            ...
        tsn_tsm_plugin.errors.ConfigError: ... SOLVER.BASE_LRR is not a key; did you mean SOLVER.BASE_LR?

    Args:
        path: YAML file. Its ``_BASE_`` files, then the file itself, are merged into the schema.
        opts: Overrides, ``["KEY", "VALUE", ...]`` or ``["KEY=VALUE", ...]`` or both mixed; values are text.
        text: Text of the recipe, if already read; ``path`` is then its nominal location.

    Returns:
        The config. An empty ``OUTPUT_DIR`` becomes ``runs/<method>/<name of the recipe>``. If another
        recipe's run has this folder, a number follows: :func:`~tsn_tsm_plugin.config.run_dir.choose_run_dir`.

    Raises:
        ConfigError: If there are faults; lists every wrong key, type and rule with its line and nearest key.
    """
    reader = SettingsReader(_OPTIONS)
    name = find_recipe(str(path)) if text is None else str(path)
    reader.read(name, text=text)
    return _resolve(name, reader, opts)


def load_carried_cfg(text: str, name: str, opts: Sequence[str] = ()) -> CfgNode:
    """Return the frozen config that a checkpoint or a run folder carries.

    The config is complete and has no bases. Keys of other versions are skipped with a warning.

    Args:
        text: Output of ``cfg.dump()``.
        name: Origin of the text, for messages.
        opts: Overrides, see ``load_cfg``.

    Raises:
        ConfigError: See ``load_cfg``.
    """
    reader = SettingsReader(_OPTIONS)
    reader.read_whole(text, name)
    known = {*KEYS, *FORMER_KEYS, *(key.rpartition(".")[0] for key in KEYS)}
    unknown = [setting.key for setting in reader.settings if setting.key not in known]
    if unknown:
        logger.warning(f"{name} has keys that this version does not know: {', '.join(unknown)}.")
    reader.settings = [setting for setting in reader.settings if setting.key in known]
    return _resolve(name, reader, opts)


def _resolve(path: str, reader: SettingsReader, opts: Sequence[str]) -> CfgNode:
    cfg = get_cfg()
    overrides, faults = _parse_overrides(opts)
    settings = [*reader.settings, *overrides]
    faults = [*reader.faults, *faults, *_faults_of_names(settings)]
    faults += [fault for setting in settings if (fault := _apply(cfg, setting))]
    _apply_protocol(cfg)
    _apply_modality(cfg, {setting.key for setting in settings})
    last = {setting.key: setting.location for setting in settings}
    faults += [f"{last.get(key, 'default')}: {key} {message}" for key, message in validate(cfg)]
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise ConfigError(f"{path}: {count}\n" + "\n".join(f"  {fault}" for fault in faults))
    if not cfg.OUTPUT_DIR:
        cfg.OUTPUT_DIR = choose_run_dir(cfg, path)
    for node in (cfg, cfg.TEST):
        node.OUTPUT_DIR = os.path.expanduser(node.OUTPUT_DIR)  # noqa: PTH111  # "" stays "".
    cfg.freeze()
    return cfg


def _parse_overrides(opts: Sequence[str]) -> tuple[list[Setting], list[str]]:
    settings: list[Setting] = []
    faults: list[str] = []
    words = iter([str(opt) for opt in opts])
    for word in words:
        key, separator, text = word.partition("=")
        if not separator:
            following = next(words, None)
            if following is None:
                faults.append(
                    f"override {word} has no value. Write `{word} VALUE` or `{word}=VALUE`; "
                    f"an empty text is `{word}=`."
                )
                continue
            text = following
        try:
            value = parse(text)
        except yaml.YAMLError:
            value = text
        settings.append(Setting(key, value, None if isinstance(value, list) else text, _COMMAND_LINE))
    return settings, faults


def _faults_of_names(settings: Iterable[Setting]) -> list[str]:
    """Report each unknown key once, with its new name or the nearest key."""
    locations: dict[str, str] = {}
    for setting in settings:
        if setting.key in KEYS or any(setting.key.startswith(f"{name}.") for name in _OPTIONS):
            continue
        if setting.value in (None, {}) and any(name.startswith(f"{setting.key}.") for name in KEYS):
            continue
        locations.setdefault(setting.key, setting.location)
    return [f"{location}: {_what_is_wrong(key)}" for key, location in locations.items()]


def _what_is_wrong(key: str) -> str:
    if key in FORMER_KEYS:
        new = FORMER_KEYS[key]
        return f"{key} is called {new.name} now: {new.meaning}"
    below = [name.removeprefix(f"{key}.").split(".")[0] for name in KEYS if name.startswith(f"{key}.")]
    if below:
        return f"{key} holds keys ({', '.join(dict.fromkeys(below))}), it cannot be set to a value"
    return f"{key} is not a key{_nearest(key)}"


def _apply(cfg: CfgNode, setting: Setting) -> str | None:
    """Write the value of a key into the config; return the fault if the value does not fit."""
    option_of = next((name for name in _OPTIONS if setting.key.startswith(f"{name}.")), "")
    if not option_of and setting.key not in KEYS:
        return None
    node, name = node_of(cfg, option_of or setting.key)
    try:
        if option_of:
            _set_option(node[name], setting.key.removeprefix(f"{option_of}."), setting.value)
        else:
            node[name] = coerce(setting.value, setting.text, node[name])
    except WrongTypeError as error:
        return f"{setting.location}: {setting.key} {error}"
    return None


def _set_option(options: CfgNode, name: str, value: Any) -> None:
    *parents, leaf = name.split(".")
    for parent in parents:
        if not isinstance(options.setdefault(parent, OptionsNode()), CfgNode):
            raise WrongTypeError("lies below a value, not below options")
        options = options[parent]
    options[leaf] = coerce({leaf: value}, None, options)[leaf]


def _apply_protocol(cfg: CfgNode) -> None:
    if cfg.TEST.PROTOCOL == "efficient":
        cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS = 1, 1
        cfg.DATA.TEST_CROP_SIZE = cfg.DATA.TRAIN_CROP_SIZE
    elif cfg.TEST.PROTOCOL == "accurate":
        cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS = 2, 3
        cfg.DATA.TEST_CROP_SIZE = cfg.DATA.TEST_SHORT_SIDE


def _apply_modality(cfg: CfgNode, given: Collection[str]) -> None:
    """Apply the defaults of flow to keys that the recipe does not set."""
    if cfg.DATA.MODALITY != "flow":
        return
    flow = {"MEAN": [128.0, 128.0], "STD": [128.0, 128.0], "FRAME_TEMPLATE": "flow_{}_{:05}.jpg"}
    for name, value in flow.items():
        if f"DATA.{name}" not in given:
            cfg.DATA[name] = value


def _nearest(key: str) -> str:
    nearest = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.5)
    leaf = key.rsplit(".", 1)[-1]
    same_leaf = [candidate for candidate in KEYS if candidate.rsplit(".", 1)[-1] == leaf]
    found = same_leaf or nearest
    return f"; did you mean {' or '.join(found)}?" if found else ""
