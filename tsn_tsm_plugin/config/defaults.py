"""KEYS, get_cfg: the schema, with one declaration for each key.

Keys of concepts that SlowFast also has carry SlowFast's names.
"""

import copy
from typing import Any

from tsn_tsm_plugin.config.data_keys import DATA_KEYS
from tsn_tsm_plugin.config.evaluation_keys import EVALUATION_KEYS
from tsn_tsm_plugin.config.key import Key
from tsn_tsm_plugin.config.network_keys import NETWORK_KEYS
from tsn_tsm_plugin.config.node import CfgNode, OptionsNode
from tsn_tsm_plugin.config.run_keys import RUN_KEYS

KEYS: dict[str, Key] = {key.name: key for key in (*RUN_KEYS, *EVALUATION_KEYS, *NETWORK_KEYS, *DATA_KEYS)}
"""Every key by its dotted name."""

FORMER_KEYS: dict[str, Key] = {key.formerly: key for key in KEYS.values() if key.formerly}
"""The keys that had another name, by that name."""


def get_cfg() -> CfgNode:
    """Return a fresh, unfrozen copy of the schema with its defaults.

    Example:
        >>> cfg = get_cfg()
        >>> cfg.MODEL.ARCH, cfg.DATA.NUM_FRAMES
        ('tsm', 8)
    """
    cfg = CfgNode()
    for key in KEYS.values():
        node, name = node_of(cfg, key.name, create=True)
        node[name] = OptionsNode(key.default) if key.is_options else copy.deepcopy(key.default)
    return cfg


def node_of(cfg: CfgNode, key: str, *, create: bool = False) -> tuple[CfgNode, str]:
    """Return the node that contains a dotted key, and the key's name in the node.

    Args:
        cfg: The config.
        key: Dotted name.
        create: Whether to create missing nodes.
    """
    *parents, name = key.split(".")
    node: Any = cfg
    for parent in parents:
        if create:
            node.setdefault(parent, CfgNode())
        node = node[parent]
    return node, name


def value_of(cfg: CfgNode, key: str) -> Any:
    """Return the value of a dotted key."""
    node, name = node_of(cfg, key)
    return node[name]


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of a recipe's tree by dotted key; a node of options is one value."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        key = KEYS.get(f"{prefix}{name}")
        if isinstance(value, dict) and not (key and key.is_options):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
