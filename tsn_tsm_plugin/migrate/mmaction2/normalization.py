"""read_normalization: mean, deviation and channel order of an MMAction2 config as keys of a recipe."""

from tsn_tsm_plugin.migrate.mmaction2.settings import Settings
from tsn_tsm_plugin.migrate.recipe import Recipe


def read_normalization(settings: Settings, recipe: Recipe, *, swap: str) -> None:
    """Pop mean, deviation and the setting that reverses RGB frames.

    MMAction2 reverses the channels before it subtracts. A recipe holds the mean in the order R, G, B.

    Example:
        >>> recipe = Recipe()
        >>> step = {"mean": [104, 117, 128], "std": [1, 1, 1], "to_bgr": True}
        >>> read_normalization(step, recipe, swap="to_bgr")
        >>> recipe.values
        {'DATA.CHANNEL_ORDER': 'bgr', 'DATA.MEAN': [128, 117, 104], 'DATA.STD': [1, 1, 1]}

    Args:
        settings: A step ``Normalize`` or a preprocessor; it keeps what differs from the recipe's values.
        recipe: Receives the keys.
        swap: Name of the setting that reverses the channels: ``to_bgr`` in 0.x, ``to_rgb`` in 1.x.
    """
    is_reversed = settings.get(swap, False)
    if not isinstance(is_reversed, bool):
        return
    found = {}
    for key, name in (("DATA.MEAN", "mean"), ("DATA.STD", "std")):
        values = settings.get(name)
        if isinstance(values, list) and all(isinstance(value, int | float) for value in values):
            found[key] = values[::-1] if is_reversed else values
    if any(recipe.values.get(key, values) != values for key, values in found.items()):
        return
    order = "bgr" if is_reversed else "rgb"
    if "DATA.MEAN" in recipe.values and recipe.values.get("DATA.CHANNEL_ORDER", "rgb") != order:
        return
    recipe.set("DATA.CHANNEL_ORDER", order if is_reversed else None)
    for key, values in found.items():
        recipe.set(key, values)
    for name in (swap, *(key.rpartition(".")[2].lower() for key in found)):
        settings.pop(name, None)
