"""RECIPES, find_recipe, near_recipes, published_accuracies: the recipes that come with this package."""

import difflib
import re
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "recipes"
_PUBLISHED = re.compile(r"^# published: top-1 ([\d./ ]+?), top-5 ([\d./ ]+|not printed)", re.MULTILINE)

RECIPES = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "projects"
"""Folder of the recipes: inside the installed package, or ``projects/`` of a checkout."""


def find_recipe(name: str, *, named: str = "") -> str:
    """Return the path of a recipe given by its short name; return other names unchanged.

    Example:
        >>> Path(find_recipe("tsm/k400_r50_8f")).name
        'k400_r50_8f.yaml'

    Args:
        name: A path, or a name such as ``tsm/k400_r50_8f``.
        named: Name that the user wrote, if ``name`` is an expanded path.
    """
    own = RECIPES / f"{(named or name).removesuffix('.yaml').removeprefix('projects/')}.yaml"
    return str(own) if "://" not in name and not Path(name).exists() and own.is_file() else name


def near_recipes(path: str) -> str:
    """Return the end of a message about a missing recipe: the nearest names, or the folder of the recipes."""
    siblings = {file.name: str(file) for file in Path(path).parent.glob("*.yaml")}
    near = [siblings[name] for name in difflib.get_close_matches(Path(path).name, siblings, n=1)]
    near = near or difflib.get_close_matches(path.removesuffix(".yaml"), recipe_names(), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else f"; recipes lie in {RECIPES}."


def recipe_names() -> list[str]:
    """Return the names of all recipes, such as ``tsm/k400_r50_8f``, without the bases."""
    files = sorted(RECIPES.glob("ts[mn]/*.yaml"))
    return [str(file.relative_to(RECIPES).with_suffix("")) for file in files]


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
    match = _PUBLISHED.search(recipe)
    return (match[1].strip(), match[2].strip()) if match else ("-", "-")
