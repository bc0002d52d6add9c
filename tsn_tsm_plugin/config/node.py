"""CfgNode, OptionsNode: config nodes that stay immutable once frozen."""

import copy
import functools
from collections.abc import Mapping
from typing import Any

import yaml
from fvcore.common.config import CfgNode as _FvcoreCfgNode

from tsn_tsm_plugin.config.yaml_text import RecipeDumper


class CfgNode(_FvcoreCfgNode):
    """fvcore's node, which after freezing refuses item assignment and has no lists.

    ``cfg.SOLVER["BASE_LR"] = 7.0`` and ``cfg.SOLVER.STEPS.append(9)`` silently change a frozen fvcore node.
    In this class the assignment raises, and freezing turns every list into a tuple.
    """

    def __setitem__(self, key: str, value: Any) -> None:
        if self.__dict__.get(CfgNode.IMMUTABLE, False) and not key.startswith("COMPUTED_"):
            raise AttributeError(
                f"{key} cannot be set to {value!r}: this config is frozen. Change the recipe, pass an "
                f"override to load_cfg, or use cfg.changed({{KEY: value}})."
            )
        super().__setitem__(key, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> "CfgNode":
        clone = type(self)()
        memo[id(self)] = clone
        for key, value in self.items():
            dict.__setitem__(clone, key, copy.deepcopy(value, memo))
        clone.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return clone

    def changed(self, values: Mapping[str, Any]) -> "CfgNode":
        """Return a frozen copy with other values of some dotted keys."""
        copied = self.clone()
        copied.defrost()
        for key, value in values.items():
            *nodes, name = key.split(".")
            functools.reduce(dict.__getitem__, nodes, copied)[name] = value
        copied.freeze()
        return copied

    def dump(self, **kwargs: Any) -> str:  # type: ignore[override]
        """Return the config as YAML text; keywords go to ``yaml.dump``."""
        return yaml.dump(plain(self), Dumper=RecipeDumper, **kwargs)

    def freeze(self) -> None:
        """Make this node and every node below this node immutable."""
        _convert_sequences(self, tuple)
        super().freeze()

    def defrost(self) -> None:
        """Make this node and every node below this node mutable again."""
        super().defrost()
        _convert_sequences(self, list)


class OptionsNode(CfgNode):
    """Keyword arguments of a component, with any names and plain values; a single value of the config."""


def plain(value: Any) -> Any:
    """Return dictionaries and lists in place of nodes and tuples, as arguments of a component."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _convert_sequences(node: CfgNode, kind: type) -> None:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            _convert_sequences(value, kind)
        elif isinstance(value, list | tuple):
            dict.__setitem__(node, key, _convert(value, kind))


def _convert(value: Any, kind: type) -> Any:
    if isinstance(value, CfgNode):
        value.freeze() if kind is tuple else value.defrost()
    return kind(_convert(item, kind) for item in value) if isinstance(value, list | tuple) else value
