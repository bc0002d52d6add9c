"""ModelAttribute, find_attributes, attributes_of_model: what a checkpoint records about its network.

A state dict does not show the number of segments. Something-Something V1 and V2 both have 174 classes. Files
of this library store both as data. The references' files have a training configuration and a file name; their
names of datasets are hints only.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tsn_tsm_plugin.checkpoints.read_checkpoint import Checkpoint
from tsn_tsm_plugin.checkpoints.translate_keys import MIT, MIT_ONLINE, MMACTION2, OWN
from tsn_tsm_plugin.errors import CheckpointError

# Words for a dataset in paths of the references' configurations and checkpoints; the first match counts.
_DATASETS = (
    ("sthv2", r"sthv2|something-?something-?v2|somethingv2|ssv2|sthsthv2"),
    ("sthv1", r"sthv1|something-?something-?v1|somethingv1|ssv1|sthsthv1|tsm_something_"),
    ("jester", r"jester"),
    ("diving48", r"diving48"),
    ("kinetics700", r"kinetics-?700|k700"),
    ("kinetics600", r"kinetics-?600|k600"),
    ("kinetics400", r"kinetics(-?400)?(?!\d)|k400"),
    ("ucf101", r"ucf-?101"),
    ("hmdb51", r"hmdb-?51"),
    ("motion", r"(?<![a-z])motion(?![a-z])"),
)
_DATASET_OF_CLASSES = {
    400: "kinetics400",
    600: "kinetics600",
    700: "kinetics700",
    174: "sthv1 or sthv2",
    27: "jester",
    48: "diving48",
    101: "ucf101",
    51: "hmdb51",
}
# Kinds of non-local blocks; the first match counts.
_NON_LOCAL = (
    ("embedded_gaussian", r"embedded[-_]gaussian"),
    ("dot_product", r"dot[-_]product"),
    ("gaussian", r"gaussian"),
)
# Attributes and their patterns in file names: 1x1x8, segment8, 8f; shift8.
_IN_FILE_NAME = (
    ("num_segments", r"(?<![a-z0-9])1x1x(\d+)(?!\d)|segment(\d+)|(?<![a-z0-9])(\d+)f(?![a-z0-9])"),
    ("shift_div", r"shift(\d+)"),
)
# Attributes and their patterns in MMAction2's configurations.
_IN_CONFIG = (
    ("num_segments", r"\bnum_segments=(\d{1,4})\b"),
    ("shift_div", r"\bshift_div=(\d{1,4})\b"),
    ("non_local_sub_sample", r"\bsub_sample=(True|False)"),
    ("non_local_use_scale", r"\buse_scale=(True|False)"),
)
# Attributes that a checkpoint of this library stores.
_TYPES: dict[str, type] = {
    "method": str,
    "backbone": str,
    "num_classes": int,
    "num_segments": int,
    "dataset": str,
    "shift_div": int,
    "shift_place": str,
    "temporal_pool": bool,
    "causal": bool,
    "non_local": str,
    "non_local_places": list,
    "non_local_sub_sample": bool,
    "non_local_use_scale": bool,
    "reparameterized": bool,
}


@dataclass(frozen=True)
class ModelAttribute:
    """A value and its origin.

    Attributes:
        value: A plain Python value.
        origin: ``"description"`` (stored as data), ``"names"``, ``"recipe"``, ``"configuration"``,
            ``"file name"`` or ``"class count"``.
    """

    value: Any
    origin: str

    def __str__(self) -> str:
        return f"{self.value} (from the {self.origin})"


def find_attributes(
    checkpoint: Checkpoint,
    own_tensors: Mapping[str, Tensor],
    source_format: str,
    *,
    of_recipe: Mapping[str, Any],
) -> dict[str, ModelAttribute]:
    """Return the known attributes of a checkpoint's network.

    Args:
        checkpoint: The checkpoint, as read.
        own_tensors: Tensors of the checkpoint under the names of this library.
        source_format: Result of :func:`~tsn_tsm_plugin.checkpoints.translate_keys.detect_format`.
        of_recipe: Attributes from the recipe that the checkpoint carries.

    Returns:
        Some of ``method``, ``backbone``, ``num_segments``, ``shift_div``, ``shift_place``, ``temporal_pool``,
        ``causal``, ``non_local``, ``non_local_places``, ``non_local_sub_sample``, ``non_local_use_scale``,
        ``num_classes``, ``dataset``, ``reparameterized``.

    Raises:
        CheckpointError: If the attributes that the file stores are damaged.
    """
    attributes: dict[str, ModelAttribute] = {}
    file_name = Path(checkpoint.path).name.lower()
    config = "" if source_format == OWN else _config_text(checkpoint.metadata)
    for origin, values in (
        ("description", _attributes_of_metadata(checkpoint)),
        ("names", _attributes_of_names(own_tensors, source_format)),
        ("names", _attributes_of_source(checkpoint.state_dict, source_format)),
        ("recipe", of_recipe.items()),
        ("configuration", _attributes_of_text(config, _IN_CONFIG)),
        ("file name", _attributes_of_text(file_name, _IN_FILE_NAME)),
    ):
        for found, value in values:
            attributes.setdefault(found, ModelAttribute(value, origin))
    num_classes = attributes.get("num_classes")
    if num_classes and num_classes.value in _DATASET_OF_CLASSES:
        dataset = _DATASET_OF_CLASSES[num_classes.value]
        attributes.setdefault("dataset", ModelAttribute(dataset, "class count"))
    if "non_local_places" not in attributes:
        for found in ("non_local", "non_local_sub_sample", "non_local_use_scale"):
            attributes.pop(found, None)
    if attributes["method"].value == "tsn":
        attributes.pop("shift_div", None)
        attributes.pop("causal", None)
    return attributes


def _config_text(metadata: Mapping[str, Any]) -> str:
    """Return the training configuration: MMAction2 1.x ``meta.cfg``, 0.x ``meta.config``."""
    inner = metadata.get("meta")
    sources = [metadata, inner] if isinstance(inner, Mapping) else [metadata]
    return "\n".join(
        source[key] for source in sources for key in ("config", "cfg") if isinstance(source.get(key), str)
    )


def _stored(checkpoint: Checkpoint, name: str, default: Any) -> Any:
    """Return what a file of this library stores under a name; ``None`` if it is damaged."""
    stored = checkpoint.metadata.get(name, default)
    try:  # The metadata of .safetensors files are strings.
        return json.loads(stored) if isinstance(stored, str) else stored
    except (ValueError, RecursionError):
        return None


def _attributes_of_metadata(checkpoint: Checkpoint) -> Iterator[tuple[str, Any]]:
    """Read the attributes that :func:`attributes_of_model` gave when the file was written."""
    stored = _stored(checkpoint, "facts", {})
    if not isinstance(stored, Mapping):
        raise CheckpointError(f"{checkpoint.path} has a damaged description of its network: fetch it again.")
    for name, value in stored.items():
        if type(value) is not _TYPES.get(name):
            raise CheckpointError(
                f"{checkpoint.path} has a damaged description of its network ({ascii(name)[:40]}): fetch it "
                "again, or update tsn_tsm_plugin."
            )
        yield name, value


def attributes_of_model(model: nn.Module) -> dict[str, Any]:
    """Return the attributes of a TSN or TSM as plain values by name; empty for other models."""
    if not hasattr(model, "backbone_name"):
        return {}
    names = ["num_classes", "num_segments", "shift_div", "shift_place", "temporal_pool", "causal"]
    attributes = {name: getattr(model, name) for name in names if hasattr(model, name)}
    attributes |= {"method": "tsm" if "shift_div" in attributes else "tsn", "backbone": model.backbone_name}
    non_local: Any = getattr(model, "non_local", None)
    if non_local is not None:
        attributes["non_local"] = non_local.kind
        attributes["non_local_places"] = list(getattr(model, "non_local_sites", non_local.sites))
        attributes["non_local_sub_sample"] = non_local.sub_sample
        if non_local.kind == "embedded_gaussian":  # Other kinds do not scale.
            attributes["non_local_use_scale"] = non_local.use_scale
    if getattr(model, "dataset", ""):
        attributes["dataset"] = model.dataset
    return attributes


def _attributes_of_names(tensors: Mapping[str, Tensor], source_format: str) -> Iterator[tuple[str, Any]]:
    is_online = source_format == MIT_ONLINE
    is_shifted = is_online or any(".net." in name for name in tensors)
    yield "method", "tsm" if is_shifted else "tsn"
    if is_shifted:
        is_block = any(re.match(r"backbone\.layer1\.\d+\.net\.", name) for name in tensors)
        yield "shift_place", "block" if is_block else "blockres"
        yield "temporal_pool", any(name.startswith("backbone.layer2.net.") for name in tensors)
        if is_online:
            yield "causal", True
    if "head.fc.weight" in tensors:
        yield "num_classes", tensors["head.fc.weight"].shape[0]
    sites = [
        name.removeprefix("backbone.").removesuffix(".non_local.g.weight")
        for name in tensors
        if name.endswith(".non_local.g.weight")
    ]
    if sites:
        yield "non_local_places", sites
        if f"backbone.{sites[0]}.non_local.theta.weight" not in tensors:
            yield "non_local", "gaussian"
    if any(".reparam_conv." in name for name in tensors):
        yield "reparameterized", True


def _attributes_of_source(keys: Iterable[str], source_format: str) -> Iterator[tuple[str, Any]]:
    """Read the attributes that only the references' parameter names show."""
    if source_format not in (MMACTION2, MIT):
        return
    # The references do not train the causal shift under these names.
    yield "causal", False
    values = [key for key in keys if re.search(r"\.(non_local_block|nl)\.g\.", key)]
    if values and source_format == MIT:
        yield "non_local", "embedded_gaussian"
    if values:
        yield "non_local_sub_sample", ".g.0." in values[0]


def _attributes_of_text(text: str, patterns: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Any]]:
    for name, pattern in patterns:
        match = re.search(pattern, text)
        if match is not None:
            word = next(group for group in match.groups() if group)
            yield name, int(word) if word.isdecimal() else word == "True"
    for name, table in (("dataset", _DATASETS), ("non_local", _NON_LOCAL)):
        found = _first_of(table, text)
        if found:
            yield name, found


def _first_of(table: Iterable[tuple[str, str]], text: str) -> str:
    return next((name for name, words in table if re.search(words, text, re.IGNORECASE)), "")


def carried_class_names(checkpoint: Checkpoint) -> list[str]:
    """Return the class names that a file of this library stores; none for others.

    Raises:
        CheckpointError: If the names are damaged.
    """
    names = _stored(checkpoint, "class_names", [])
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(
            f"The list of class names that {checkpoint.path} carries cannot be read (it is no list of "
            "words): give another with --labels, or take the file from its source again."
        )
    return list(names)
