"""What a checkpoint says about the network it belongs to, and where it says so.

A state dict alone does not tell the number of segments, nor Something-Something V1 from V2 (both have 174
classes). Training configurations inside the file do, and so do the references' file names.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tsn_tsm_plugin.checkpoints.read_checkpoint import Checkpoint
from tsn_tsm_plugin.checkpoints.source_format import MIT, MIT_ONLINE, MMACTION2

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
_NON_LOCAL_WORDS = (
    ("embedded_gaussian", r"embedded[-_]gaussian"),
    ("dot_product", r"dot[-_]product"),
    ("gaussian", r"gaussian"),
)
# The name of a fact, and what stands for it in a file name: 1x1x8, segment8, 8f; shift8.
_IN_FILE_NAME = (
    ("num_segments", r"(?<![a-z0-9])1x1x(\d+)(?!\d)|segment(\d+)|(?<![a-z0-9])(\d+)f(?![a-z0-9])"),
    ("shift_div", r"shift(\d+)"),
)
# In a Python configuration of MMAction2 and in a YAML of this library.
_IN_CONFIG = (
    ("num_segments", r"\bnum_segments=(\d+)|\bNUM_FRAMES: (\d+)"),
    ("shift_div", r"\bshift_div=(\d+)|\bSHIFT_DIV: (\d+)"),
)
_SWITCHES_IN_CONFIG = (
    ("causal", r"\bCAUSAL: (true|false)"),
    ("non_local_sub_sample", r"\bsub_sample=(True|False)|\bSUB_SAMPLE: (true|false)"),
    ("non_local_use_scale", r"\buse_scale=(True|False)|\bUSE_SCALE: (true|false)"),
)


@dataclass(frozen=True)
class Fact:
    """A value and where it was read.

    Attributes:
        value: A plain Python value.
        origin: ``"names"``, ``"configuration"``, ``"file name"``, ``"class count"`` or ``"converted file"``.
    """

    value: Any
    origin: str

    def __str__(self) -> str:
        return f"{self.value} (from the {self.origin})"


def find_facts(
    checkpoint: Checkpoint, own_tensors: Mapping[str, Tensor], source_format: str
) -> dict[str, Fact]:
    """Return what is known of the network of a checkpoint; what is not known is not there.

    Args:
        checkpoint: As it was read.
        own_tensors: Its tensors under the names of this library.
        source_format: Of :func:`~tsn_tsm_plugin.checkpoints.source_format.detect_format`.

    Returns:
        Some of ``method``, ``num_segments``, ``shift_div``, ``shift_place``, ``temporal_pool``, ``causal``,
        ``non_local``, ``non_local_places``, ``non_local_sub_sample``, ``non_local_use_scale``,
        ``num_classes``, ``dataset``, ``reparameterized``.
    """
    facts: dict[str, Fact] = {}
    file_name = Path(checkpoint.path).name.lower()
    config = _config_text(checkpoint.metadata)
    data_lines = re.findall(r"\b(?:PATH_TO_DATA_DIR|TRAIN_LIST|VAL_LIST|CREATE_IF_MISSING): (.*)", config)
    for fact_name, fact in (
        *_facts_of_metadata(checkpoint.metadata),
        *_facts_of_names(own_tensors, source_format),
        *_facts_of_source(checkpoint.state_dict, source_format),
        *_numbers_of(config, _IN_CONFIG, "configuration"),
        *_switches_of(config),
        *_words_of(config, "\n".join(data_lines) or config, "configuration"),
        *_numbers_of(file_name, _IN_FILE_NAME, "file name"),
        *_words_of(file_name, file_name, "file name"),
    ):
        facts.setdefault(fact_name, fact)
    if "num_classes" in facts and facts["num_classes"].value in _DATASET_OF_CLASSES:
        facts.setdefault("dataset", Fact(_DATASET_OF_CLASSES[facts["num_classes"].value], "class count"))
    if "non_local_places" not in facts:
        for fact_name in ("non_local", "non_local_sub_sample", "non_local_use_scale"):
            facts.pop(fact_name, None)
    if facts["method"].value == "tsn":
        facts.pop("shift_div", None)
        facts.pop("causal", None)
    return facts


def _config_text(metadata: Mapping[str, Any]) -> str:
    """Return the training configuration: MMAction2 1.x ``meta.cfg``, 0.x ``meta.config``, ours ``config``."""
    inner = metadata.get("meta")
    places = [metadata, inner] if isinstance(inner, Mapping) else [metadata]
    return "\n".join(
        place[key] for place in places for key in ("config", "cfg") if isinstance(place.get(key), str)
    )


def _facts_of_metadata(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Fact]]:
    """Read the facts that ``convert_checkpoint`` wrote."""
    stored = metadata.get("facts")
    if isinstance(stored, str):  # The metadata of .safetensors files are strings.
        stored = json.loads(stored)
    if isinstance(stored, Mapping):
        for name, value in stored.items():
            yield name, Fact(value, "converted file")


def _facts_of_names(tensors: Mapping[str, Tensor], source_format: str) -> Iterator[tuple[str, Fact]]:
    is_online = source_format == MIT_ONLINE
    is_shifted = is_online or any(".net." in name for name in tensors)
    yield "method", Fact("tsm" if is_shifted else "tsn", "names")
    if is_shifted:
        is_block = any(re.match(r"backbone\.layer1\.\d+\.net\.", name) for name in tensors)
        yield "shift_place", Fact("block" if is_block else "blockres", "names")
        yield "temporal_pool", Fact(any(name.startswith("backbone.layer2.net.") for name in tensors), "names")
        if is_online:
            yield "causal", Fact(True, "names")
    if "head.fc.weight" in tensors:
        yield "num_classes", Fact(tensors["head.fc.weight"].shape[0], "names")
    places = [
        name.removeprefix("backbone.").removesuffix(".non_local.g.weight")
        for name in tensors
        if name.endswith(".non_local.g.weight")
    ]
    if places:
        yield "non_local_places", Fact(places, "names")
        if f"backbone.{places[0]}.non_local.theta.weight" not in tensors:
            yield "non_local", Fact("gaussian", "names")
    if any(".reparam_conv." in name for name in tensors):
        yield "reparameterized", Fact(True, "names")


def _facts_of_source(keys: Iterable[str], source_format: str) -> Iterator[tuple[str, Fact]]:
    """Read what only the references' own names tell."""
    if source_format not in (MMACTION2, MIT):
        return
    # Neither reference trains the causal shift under these names.
    yield "causal", Fact(False, "names")
    values = [key for key in keys if re.search(r"\.(non_local_block|nl)\.g\.", key)]
    if values and source_format == MIT:
        yield "non_local", Fact("embedded_gaussian", "names")
    if values:
        yield "non_local_sub_sample", Fact(".g.0." in values[0], "names")


def _numbers_of(text: str, patterns: Iterable[tuple[str, str]], origin: str) -> Iterator[tuple[str, Fact]]:
    for name, pattern in patterns:
        match = re.search(pattern, text)
        if match is not None:
            yield name, Fact(int(next(group for group in match.groups() if group)), origin)


def _switches_of(config: str) -> Iterator[tuple[str, Fact]]:
    for name, pattern in _SWITCHES_IN_CONFIG:
        match = re.search(pattern, config)
        if match is not None:
            yield name, Fact(match[match.lastindex or 0].lower() == "true", "configuration")


def _words_of(text: str, data_text: str, origin: str) -> Iterator[tuple[str, Fact]]:
    dataset = dataset_of(data_text)
    if dataset:
        yield "dataset", Fact(dataset, origin)
    for kind, words in _NON_LOCAL_WORDS:
        if re.search(words, text):
            yield "non_local", Fact(kind, origin)
            break


def dataset_of(text: str) -> str:
    """Return the dataset that a path or a configuration speaks of, e.g. ``"sthv2"``, or ""."""
    return next((name for name, words in _DATASETS if re.search(words, text, re.IGNORECASE)), "")
