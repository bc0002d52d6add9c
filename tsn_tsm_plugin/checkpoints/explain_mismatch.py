"""explain_mismatch, explain_conflict: error texts for state dicts that do not fit a model."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tsn_tsm_plugin.checkpoints.metadata import ModelAttribute, attributes_of_model
from tsn_tsm_plugin.checkpoints.translate_keys import without_wrappers

# Input of the first convolution of a network, by its number of channels.
MODALITIES = {3: "RGB", 10: "optical flow (5 pairs)", 2: "optical flow (1 pair)", 15: "5 RGB differences"}
# Attributes that both a checkpoint and a model can state.
COMPARED_ATTRIBUTES = (
    "num_segments",
    "shift_div",
    "causal",
    "non_local",
    "non_local_sub_sample",
    "non_local_use_scale",
    "dataset",
)
# Origins whose attributes are data, not words of a text or a path.
_DATA = ("description", "recipe")
_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class Words:
    """Words of an interface (API, command line) for the settings that a user can change.

    Attributes:
        allow: Setting that allows an attribute to differ, with a field for its name.
        ignore_head: Setting that skips the classifier.
        classes: Setting of the number of classes, with a field for the number.
        setting: Settings of the attributes, by name; ``{name}={value}`` for the others.
        tsm: Setting that builds a TSM.
        sites: Setting that selects the sites of the shift.
        non_local: Setting that selects non-local blocks.
    """

    allow: str = "allow_mismatch=[{0!r}]"
    ignore_head: str = "ignore_head=True"
    classes: str = "num_classes={}"
    setting: Mapping[str, str] = field(default_factory=dict)
    tsm: str = "create_tsm()"
    sites: str = "shift_place and temporal_pool"
    non_local: str = "create_tsm(non_local=...)"


PYTHON = Words()


def explain_mismatch(
    given: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    *,
    optional: Iterable[str] = (),
    words: Words = PYTHON,
) -> str:
    """Compare names and shapes; return "" if they fit.

    Args:
        given: The tensors of a checkpoint, under the names of the model.
        target: The state dict of the model.
        optional: Names of the model that a checkpoint may lack.
        words: Words of the interface in use.
    """
    optional_names = set(optional)
    both = _Differences(
        given,
        target,
        missing=[name for name in target if name not in given and name not in optional_names],
        unexpected=[name for name in given if name not in target],
        reshaped=[name for name in given if name in target and given[name].shape != target[name].shape],
    )
    if not (both.missing or both.unexpected or both.reshaped):
        return ""
    return (
        _explain_non_local(both, words)
        or _explain_modality(both)
        or _explain_wrappers(both, words)
        or _explain_classes(both, words)
        or _list_differences(both)
    )


class _Differences(NamedTuple):
    """Tensors of a file and of a model, and the names that differ."""

    given: Mapping[str, Tensor]
    target: Mapping[str, Tensor]
    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    def shapes(self, name: str) -> str:
        in_file, in_model = tuple(self.given[name].shape), tuple(self.target[name].shape)
        return f"{name}: {in_file} in the file, {in_model} in the model"


def _explain_non_local(both: _Differences, words: Words) -> str:
    """Explain non-local blocks on one side only, or at other sites."""
    in_model, in_file = _non_local_sites(both.missing), _non_local_sites(both.unexpected)
    if in_model == in_file:
        return ""
    return (
        f"the file has further non-local blocks after {_examples(in_file) or 'none'} and the model after "
        f"{_examples(in_model) or 'none'}. Build the model with the file's: {words.non_local}."
    )


def _non_local_sites(names: list[str]) -> list[str]:
    sites = {name.partition(".non_local.")[0] for name in names if ".non_local." in name}
    return sorted(site.removeprefix("backbone.") for site in sites)


def _explain_modality(both: _Differences) -> str:
    """Explain a first convolution of another number of channels."""
    for name in both.reshaped:
        in_file, in_model = both.given[name].shape, both.target[name].shape
        is_first = len(in_file) == len(in_model) >= 4 and in_file[::2] == in_model[::2]
        if is_first and in_file[1] in MODALITIES and in_model[1] in MODALITIES:
            return (
                f"the file is of a network for {MODALITIES[in_file[1]]}, the model takes "
                f"{MODALITIES[in_model[1]]} ({both.shapes(name)}). Give a checkpoint of the model's modality."
            )
    return ""


def _explain_wrappers(both: _Differences, words: Words) -> str:
    """Explain names that differ only in ``.net``: the sites of the shift."""
    in_model, in_file = _wrapped_sites(both.missing), _wrapped_sites(both.unexpected)
    if not (in_model or in_file) or _bare_names(both.given) != _bare_names(both.target):
        return ""
    if in_model and not in_file:
        return (
            f"the model shifts {len(in_model)} sites ({_examples(in_model)}) that the file does not: a TSN "
            "checkpoint in a TSM, or another TSM. Give a checkpoint of this TSM, or start a training from "
            f"the file without its classifier: {words.ignore_head}."
        )
    if in_file and not in_model:
        return (
            f"the file shifts {len(in_file)} sites ({_examples(in_file)}) that the model does not: a TSM "
            f"checkpoint in a TSN, or in a TSM of another kind. Build a TSM with {words.tsm}, or give a TSN "
            "checkpoint."
        )
    return (
        f"file and model shift at different sites: {_examples(in_file)} in the file, {_examples(in_model)} "
        f"in the model. Build the TSM with the file's {words.sites}."
    )


def _bare_names(names: Iterable[str]) -> set[str]:
    # Files from before PyTorch 0.4.1 have no batch counts.
    return {without_wrappers(name) for name in names if not name.endswith("num_batches_tracked")}


def _wrapped_sites(names: list[str]) -> list[str]:
    return sorted({name.rpartition(".net.")[0] for name in names if ".net." in name})


def _explain_classes(both: _Differences, words: Words) -> str:
    """Explain a classifier of another size, if everything else fits."""
    if both.missing or both.unexpected or not all(".fc." in name for name in both.reshaped):
        return ""
    in_file, in_model = (tensors[both.reshaped[0]].shape[0] for tensors in (both.given, both.target))
    if in_file == in_model:
        return ""
    return (
        f"the file has {in_file} classes and the model {in_model}. Set {words.classes.format(in_file)}, or "
        f"leave the classifier out to fine-tune: {words.ignore_head}."
    )


def _list_differences(both: _Differences) -> str:
    parts = []
    if both.missing:
        parts.append(f"{len(both.missing)} entries are missing ({_examples(both.missing)})")
    if both.unexpected:
        parts.append(f"{len(both.unexpected)} are unexpected ({_examples(both.unexpected)})")
    if both.reshaped:
        shapes = [both.shapes(name) for name in both.reshaped]
        parts.append(f"{len(shapes)} have another shape ({_examples(shapes)})")
    return "; ".join(parts) + ". The file is of another backbone, depth or method: build the model it is for."


def _examples(names: list[str]) -> str:
    return ", ".join(names[:_NUM_EXAMPLES]) + (", ..." if len(names) > _NUM_EXAMPLES else "")


def explain_values(given: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> str:
    """Return why the values of tensors cannot be weights, or "" if they can.

    Args:
        given: The tensors of a checkpoint, under names that the model has.
        target: The state dict of the model.
    """
    for name, value in given.items():
        is_counter = not target[name].is_floating_point() and value.dtype is not torch.bool
        if not value.is_complex() and (value.is_floating_point() or is_counter):
            continue
        return f"{name} holds {value.dtype} values, the model {target[name].dtype} ones."
    strange = [
        name
        for name, value in given.items()
        if not value.is_meta and not value.to(target[name].dtype).isfinite().all()
    ]
    if not strange:
        return ""
    return (
        f"{len(strange)} of its tensors hold values that are not finite, NaN or infinite "
        f"({_examples(strange)}). The training diverged, or the file is damaged: give an earlier checkpoint."
    )


def explain_conflict(
    attributes: Mapping[str, ModelAttribute],
    model: nn.Module,
    *,
    allowed: Collection[str] = (),
    words: Words = PYTHON,
) -> str:
    """Compare the attributes of a checkpoint with a model's attributes; return "" if they agree.

    Args:
        attributes: Result of :func:`~tsn_tsm_plugin.checkpoints.metadata.find_attributes`.
        model: A model with some or all of :data:`COMPARED_ATTRIBUTES`.
        allowed: Names of attributes that may differ.
        words: Words of the interface in use.
    """
    for name, in_model in _compared_attributes(model).items():
        attribute = attributes.get(name)
        if attribute is None or name in allowed or attribute.value == in_model:
            continue
        if name == "dataset" and attribute.origin not in _DATA:
            continue
        key = words.setting.get(name)
        setting = f"{key} {attribute.value}" if key else f"{name}={attribute.value}"
        return (
            f"the file is for {name}={attribute.value} (according to its {attribute.origin}), the model for "
            f"{name}={in_model}. "
            f"Set {setting}, or allow the difference: {words.allow.format(name)}."
        )
    return ""


def doubt_about_dataset(attributes: Mapping[str, ModelAttribute], model: nn.Module) -> str:
    """Return a warning if another library's file names another dataset than the model's, or ""."""
    in_model, attribute = getattr(model, "dataset", ""), attributes.get("dataset")
    if not in_model or attribute is None or attribute.value == in_model:
        return ""
    if attribute.origin in (*_DATA, "class count"):
        return ""
    return f"its {attribute.origin} names {attribute.value}, the recipe {in_model}: the classes may differ."


def explain_class_names(in_file: Sequence[str], in_model: Sequence[str], *, words: Words = PYTHON) -> str:
    """Compare the class names of a checkpoint with those in use; return "" if they agree or are unknown."""
    numbers = [str(label) for label in range(len(in_file))]
    if numbers in (in_file, in_model) or len(in_file) != len(in_model):
        return ""
    first = next((k for k, (a, b) in enumerate(zip(in_file, in_model, strict=True)) if a != b), None)
    if first is None:
        return ""
    return (
        f"class {first} is {ascii(in_file[first])[:60]} in the file and {ascii(in_model[first])[:60]} in the "
        f"label map. Give the file's label map, or let it differ: {words.allow.format('dataset')}."
    )


def _compared_attributes(model: nn.Module) -> dict[str, object]:
    attributes = attributes_of_model(model)
    if attributes.get("method") == "tsn":  # A TSN takes any number of frames.
        attributes.pop("num_segments")
    return {name: attributes[name] for name in COMPARED_ATTRIBUTES if name in attributes}
