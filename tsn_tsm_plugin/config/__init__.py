"""The schema of a recipe and its loader."""

from tsn_tsm_plugin.config.defaults import get_cfg
from tsn_tsm_plugin.config.load import load_cfg
from tsn_tsm_plugin.config.node import CfgNode, keys_of

__all__ = ["CfgNode", "get_cfg", "keys_of", "load_cfg"]
