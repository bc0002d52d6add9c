"""Recipe: a recipe in the making, its keys and what has to be told about them."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Recipe:
    """A recipe in the making.

    Attributes:
        values: By our dotted key.
        notes: What was not carried over or had to be assumed, in sentences.
    """

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def set(self, key: str, value: Any) -> None:
        """Set a key, unless there is nothing to set it to."""
        if value is not None:
            self.values[key] = value
