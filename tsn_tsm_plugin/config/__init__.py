"""get_cfg, load_cfg: the schema of recipes and their loader."""

from tsn_tsm_plugin.config.defaults import get_cfg
from tsn_tsm_plugin.config.load import load_cfg
from tsn_tsm_plugin.config.node import CfgNode

__all__ = ["CfgNode", "get_cfg", "load_cfg"]
