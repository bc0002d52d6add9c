"""published_accuracies: the published accuracy in the header comment of a recipe."""

import re

_LINE = re.compile(r"^# published: top-1 ([\d./ ]+?), top-5 ([\d./ ]+|not printed)", re.MULTILINE)


def published_accuracies(recipe: str) -> tuple[str, str]:
    """Return the published top-1 and top-5 in percent, as printed.

    Example:
        >>> published_accuracies("# published: top-1 45.58 / 47.70, top-5 75.02 / 76.12 (two protocols)")
        ('45.58 / 47.70', '75.02 / 76.12')

    Args:
        recipe: Text of the recipe's YAML.

    Returns:
        One number for each, or numbers joined by `` / `` for several protocols. ``not printed`` if the
        published table has no top-5; ``-`` twice if the recipe states no accuracy.
    """
    match = _LINE.search(recipe)
    return (match[1].strip(), match[2].strip()) if match else ("-", "-")
