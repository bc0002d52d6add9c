"""A ``CfgNode`` that is really frozen once frozen."""

import copy
from typing import Any

from fvcore.common.config import CfgNode as _FvcoreCfgNode


class CfgNode(_FvcoreCfgNode):
    """fvcore's node, with the two ways closed in which a frozen one can still change.

    ``cfg.SOLVER["BASE_LR"] = 7.0`` and ``cfg.SOLVER.STEPS.append(9)`` alter a frozen fvcore node without a
    word. Here the first raises, and freezing turns every list into a tuple.
    """

    def __setitem__(self, key: str, value: Any) -> None:
        if self.__dict__.get(CfgNode.IMMUTABLE, False) and not key.startswith("COMPUTED_"):
            raise AttributeError(
                f"{key} cannot be set to {value!r}: this config is frozen. Change the recipe, pass an "
                f"override to load_cfg, or work on cfg.clone() after defrost()."
            )
        super().__setitem__(key, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> "CfgNode":
        clone = type(self)()
        memo[id(self)] = clone
        for key, value in self.items():
            dict.__setitem__(clone, key, copy.deepcopy(value, memo))
        clone.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return clone

    def freeze(self) -> None:
        """Make this node and every node below it unchangeable."""
        _convert_sequences(self, tuple)
        super().freeze()

    def defrost(self) -> None:
        """Make this node and every node below it changeable again."""
        super().defrost()
        _convert_sequences(self, list)


def _convert_sequences(node: CfgNode, kind: type) -> None:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            _convert_sequences(value, kind)
        elif isinstance(value, list | tuple):
            dict.__setitem__(node, key, _convert(value, kind))


def _convert(value: Any, kind: type) -> Any:
    return kind(_convert(item, kind) for item in value) if isinstance(value, list | tuple) else value
