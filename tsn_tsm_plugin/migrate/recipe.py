"""Recipe: a recipe under construction, with its keys and notes."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Recipe:
    """A recipe under construction.

    Attributes:
        values: Values by dotted key.
        notes: Sentences on skipped settings and assumptions.
    """

    values: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def set(self, key: str, value: Any) -> None:
        """Set a key, unless the value is missing."""
        if value is not None:
            self.values[key] = value
