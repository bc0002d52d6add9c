"""Key, Rule: the declaration of a config key, and the rules for its values."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tsn_tsm_plugin.paths import is_url

FIXED = "fixed"
FIXED_WITHIN_EPOCH = "fixed within an epoch"
RECORDED = "recorded"
FREE = "free"

PRESET = "preset"
"""Word of a list of components for the steps that other keys describe."""

ON_RESUME = {
    FIXED: "a run cannot go on with another value: the weights were not trained with it",
    FIXED_WITHIN_EPOCH: "may change between two epochs only: it decides which videos an epoch has seen",
    RECORDED: "may change; the run continues and logs a warning",
    FREE: "may change; no number of the run depends on it",
}
"""Effect of another value on a resumed run, by the word in a declaration."""


@dataclass(frozen=True)
class Rule:
    """Rule for every value of a key.

    Attributes:
        text: The rule in words, to follow "must".
        holds: Returns whether a value of the key's type follows the rule.
    """

    text: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True, eq=False)
class Key:
    """Declaration of one key of the config.

    Attributes:
        name: Dotted name, such as ``SOLVER.BASE_LR``.
        default: Value in the schema, which also gives the key's type. ``{}`` is a node of options: the node
            takes any keyword arguments, and a recipe that sets the key replaces the whole node.
        meaning: Effect of the key, with units.
        rule: Rule for the key's values, in addition to the type.
        on_resume: One of ``ON_RESUME``.
        component: Kind of component whose registered names the key takes, as in ``registry.REGISTRIES``.
        formerly: Former name; an error for the former name gives the new one.
        entry_keys: Additional keys of the mappings in a list of components.
    """

    name: str
    default: Any
    meaning: str
    rule: Rule | None = None
    on_resume: str = RECORDED
    component: str = ""
    formerly: str = ""
    entry_keys: tuple[str, ...] = ()

    @property
    def is_options(self) -> bool:
        """Whether the key is a node of keyword arguments."""
        return isinstance(self.default, dict)


# A declaration begins with the effect of another value on a resumed run; Key alone: RECORDED.
fixed = functools.partial(Key, on_resume=FIXED)
fixed_within_epoch = functools.partial(Key, on_resume=FIXED_WITHIN_EPOCH)
free = functools.partial(Key, on_resume=FREE)


def one_of(*choices: object) -> Rule:
    """Return the rule that a value is one of ``choices``."""
    return Rule(f"be one of {', '.join(map(repr, choices))}", lambda value: value in choices)


def at_least(least: float) -> Rule:
    """Return the rule that a number is finite and at least ``least``."""
    return Rule(f"be at least {least:g}", lambda value: least <= value < math.inf)


def numbers_for(*names: str) -> Rule:
    """Return the rule that a list holds one finite number for each of ``names``."""
    count = len(names)
    return Rule(
        f"hold one number for each of {', '.join(names)}",
        lambda value: len(value) == count and all(map(math.isfinite, value)),
    )


NAMES = Rule("be a list of names", lambda value: all(isinstance(item, str) for item in value))
PROBABILITY = Rule("be in [0, 1]", lambda value: 0.0 <= value <= 1.0)
SHARE = Rule("be in [0, 1)", lambda value: 0.0 <= value < 1.0)
ON_THIS_MACHINE = Rule("be a path of this machine, no URL", lambda value: not is_url(value))
