"""mirror_pairs, turn_pairs: find pairs of classes that a horizontal flip exchanges, by their names."""

import re
from collections.abc import Sequence

_LEFT_RIGHT = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
_TURNS = {
    "clockwise": "counterclockwise",
    "counterclockwise": "clockwise",
    "Clockwise": "Counterclockwise",
    "Counterclockwise": "Clockwise",
}


def mirror_pairs(class_names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of labels with names that differ only in left and right, in ascending order.

    MMAction2 swaps the same pairs for Something-Something V1 and V2 and Jester.
    """
    return _pairs(class_names, _LEFT_RIGHT)


def turn_pairs(class_names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of labels with names that differ only in clockwise and counterclockwise.

    A flip exchanges these classes too, but MMAction2 does not swap them.
    """
    return _pairs(class_names, _TURNS)


def _pairs(class_names: Sequence[str], words: dict[str, str]) -> list[tuple[int, int]]:
    pattern = re.compile(rf"\b({'|'.join(words)})\b")
    labels = {name: label for label, name in enumerate(class_names)}
    pairs = []
    for name, label in labels.items():
        mirrored = labels.get(pattern.sub(lambda match: words[match.group()], name), label)
        if label < mirrored:
            pairs.append((label, mirrored))
    return sorted(pairs)
