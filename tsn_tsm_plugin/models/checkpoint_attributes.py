"""attributes_of_checkpoint, RECIPE: attributes of a checkpoint's network, from its metadata and recipe."""

from collections.abc import Mapping
from typing import Any

import yaml

from tsn_tsm_plugin.checkpoints.explain_mismatch import Words
from tsn_tsm_plugin.checkpoints.metadata import ModelAttribute, find_attributes
from tsn_tsm_plugin.checkpoints.read_checkpoint import Checkpoint
from tsn_tsm_plugin.checkpoints.translate_keys import Translation
from tsn_tsm_plugin.config.yaml_text import parse

# Recipe keys that define a network, by name of the attribute.
RECIPE_KEYS = {
    "num_segments": "DATA.NUM_FRAMES",
    "shift_div": "TSM.SHIFT_DIV",
    "causal": "TSM.CAUSAL",
    "non_local": "NONLOCAL.INSTANTIATION",
    "non_local_sub_sample": "NONLOCAL.SUB_SAMPLE",
    "non_local_use_scale": "NONLOCAL.USE_SCALE",
    "dataset": "DATA.DATASET",
}
# Keys and flags that error messages name.
RECIPE = Words(
    allow="TRAIN.CHECKPOINT_ALLOW_MISMATCH [{0!r}] (on the command line --allow-mismatch {0})",
    ignore_head="TRAIN.CHECKPOINT_IGNORE_HEAD True",
    classes="MODEL.NUM_CLASSES {}",
    setting=RECIPE_KEYS,
    tsm="MODEL.ARCH tsm",
    sites="TSM.SHIFT_PLACE and TSM.TEMPORAL_POOL",
    non_local="NONLOCAL.INSTANTIATION and NONLOCAL.LOCATION",
)
_TYPES = {"num_segments": int, "shift_div": int, "non_local": str, "dataset": str}


def attributes_of_checkpoint(checkpoint: Checkpoint, translation: Translation) -> dict[str, ModelAttribute]:
    """Return the known attributes of a checkpoint's network.

    Args:
        checkpoint: The checkpoint, as read.
        translation: The checkpoint's tensors under the names of this library.

    Raises:
        CheckpointError: If the file's description of its network is damaged.
    """
    return find_attributes(
        checkpoint,
        translation.tensors,
        translation.format,
        of_recipe=_attributes_of_recipe(checkpoint.metadata.get("config")),
    )


def _attributes_of_recipe(text: Any) -> dict[str, Any]:
    """Read the recipe of older files, which do not store attributes; return {} for other text."""
    try:
        tree = parse(text) if isinstance(text, str) else None
    except yaml.YAMLError:  # MMAction2's configurations are Python.
        return {}
    attributes = {}
    for name, key in RECIPE_KEYS.items():
        node_name, _, leaf = key.partition(".")
        values = tree.get(node_name) if isinstance(tree, Mapping) else None
        value = values.get(leaf) if isinstance(values, Mapping) else None
        if type(value) is _TYPES.get(name, bool) and value != "":
            attributes[name] = value
    return attributes
