"""load_weights, LoadReport: load checkpoints of this library, MMAction2, mit-han-lab and timm."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from tsn_tsm_plugin.checkpoints.explain_mismatch import (
    COMPARED_ATTRIBUTES,
    PYTHON,
    Words,
    doubt_about_dataset,
    explain_class_names,
    explain_conflict,
    explain_mismatch,
    explain_values,
)
from tsn_tsm_plugin.checkpoints.metadata import ModelAttribute, carried_class_names
from tsn_tsm_plugin.checkpoints.read_checkpoint import Checkpoint, read_checkpoint, split_checkpoint
from tsn_tsm_plugin.checkpoints.translate_keys import (
    IMAGENET,
    Translation,
    fit_names,
    is_head,
    translate_checkpoint,
)
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.models.checkpoint_attributes import attributes_of_checkpoint
from tsn_tsm_plugin.models.deploy.reparameterize import is_reparameterized, reparameterize_

logger = get_logger(__name__)


@dataclass(frozen=True)
class LoadReport:
    """Result of :func:`load_weights`.

    Attributes:
        format: Source of the file, e.g. ``"MMAction2 1.x"``.
        num_mapped: Entries of the file that went into the model.
        missing: Entries of the model that the file lacks; they keep their values.
        unexpected: Entries of the file that were skipped.
        derived: Entries of the file without a counterpart: index tables that the model computes, and
            biases that were folded into the following normalisation.
        attributes: Attributes of the network in the file, see
            :func:`~tsn_tsm_plugin.checkpoints.metadata.find_attributes`.
        source: The file, or a description of the state dict.
    """

    format: str
    num_mapped: int
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    derived: list[str] = field(default_factory=list)
    attributes: dict[str, ModelAttribute] = field(default_factory=dict)
    source: str = ""

    def __str__(self) -> str:
        left = "".join(
            f"; {name}: {', '.join(keys)}"
            for name, keys in (
                ("not in the file", self.missing),
                ("skipped", self.unexpected),
                ("derived", self.derived),
            )
            if keys
        )
        return f"{self.source}: {self.format}, {self.num_mapped} entries loaded{left}"


def load_weights(
    model: nn.Module,
    path_or_state_dict: str | Path | Mapping[str, Tensor] | Checkpoint,
    *,
    ignore_head: bool = False,
    allow_mismatch: Sequence[str] = (),
    class_names: Sequence[str] = (),
    words: Words = PYTHON,
) -> LoadReport:
    """Load a checkpoint into a TSN or TSM; the format is recognised by the parameter names.

    Formats: this library, MMAction2 0.x and 1.x, mit-han-lab TSM, each with or without a leading
    ``module.``; ImageNet classifiers of torchvision and timm, whose last layer is skipped and reported. The
    model may also be PyTorchVideo's, from ``create_resnet(bottleneck=tsm_bottleneck,
    head=create_tsm_head)``. A re-parameterised file re-parameterises the model.

    All names, shapes and attributes of the network are compared first. Either everything fits, or the model
    is not changed.

    Example:
        >>> from tsn_tsm_plugin import create_tsm, create_tsn
        >>> trained = create_tsm(backbone="resnet18", num_classes=8)
        >>> report = load_weights(create_tsm(backbone="resnet18", num_classes=8), trained.state_dict())
        >>> report.format, report.num_mapped, report.missing, report.unexpected
        ('tsn_tsm_plugin', 122, [], [])

        A checkpoint that does not fit is refused, with the reason:

        >>> load_weights(create_tsn(backbone="resnet18", num_classes=8), trained.state_dict())
        Traceback (most recent call last):
            ...
        tsn_tsm_plugin.errors.CheckpointError: ... the file shifts 8 sites (...) that the model does not: ...

    Args:
        model: Result of ``create_tsn``, ``create_tsm``, ``build_model`` or ``create_resnet``.
        path_or_state_dict: A file of ``torch.save`` or a ``.safetensors`` file, at any path that iopath can
            fetch, or its content.
        ignore_head: Skip the classifier, to fine-tune on other classes. A TSN may then start a TSM.
        allow_mismatch: Attributes that may differ from the file's network, from ``COMPARED_ATTRIBUTES`` of
            :mod:`~tsn_tsm_plugin.checkpoints.explain_mismatch`; e.g. ``["num_segments"]`` to fine-tune with
            more segments, ``["causal"]`` to make an online model from a bi-directional model.
        class_names: Names of the classes in use, to compare with the file's names; empty: no comparison.
        words: Names of flags, keys or arguments in error messages.

    Raises:
        CheckpointError: If the file cannot be read, does not fit the model, or has weights other than finite
            floating-point numbers. Also if ``allow_mismatch`` has an unknown name. Nothing is loaded then.
    """
    unknown = [name for name in allow_mismatch if name not in COMPARED_ATTRIBUTES]
    if unknown:
        raise CheckpointError(
            f"{words.allow.format('...')} takes {', '.join(COMPARED_ATTRIBUTES)}; got {', '.join(unknown)}."
        )
    checkpoint = _checkpoint(path_or_state_dict)
    translation = translate_checkpoint(checkpoint)
    attributes = attributes_of_checkpoint(checkpoint, translation)
    if ignore_head:
        translation = translation.without_head()
    fitted = model
    if is_reparameterized(translation.tensors) and not is_reparameterized(model.state_dict()):
        fitted = copy.deepcopy(model)
        reparameterize_(fitted)
    target = fitted.state_dict()
    translation = fit_names(translation, target, tune=ignore_head)
    has_head = any(is_head(name) for name in translation.tensors)
    # If the classifier is skipped, the classes of the dataset do not matter.
    allowed = set(allow_mismatch) if has_head else {*allow_mismatch, "dataset"}
    optional = [name for name in target if _is_optional(name, translation, has_head=not ignore_head)]
    reason = explain_mismatch(translation.tensors, target, optional=optional, words=words)
    reason = reason or explain_values(translation.tensors, target)
    reason = reason or explain_conflict(attributes, model, allowed=allowed, words=words)
    if "dataset" not in allowed:
        names = carried_class_names(checkpoint)
        reason = reason or explain_class_names(names, class_names, words=words)
    source = checkpoint.path or "the given state dict"
    if reason:
        raise CheckpointError(
            f"{source} ({translation}) does not fit the model: {reason} Nothing was loaded."
        )
    doubt = doubt_about_dataset(attributes, model) if has_head else ""
    if doubt:
        logger.warning("%s: %s", source, doubt)
    if fitted is not model:
        reparameterize_(model)
    model.load_state_dict(translation.tensors, strict=False)
    report = LoadReport(
        format=str(translation),
        num_mapped=len(translation.tensors),
        missing=[name for name in target if name not in translation.tensors],
        unexpected=translation.unexpected,
        derived=translation.derived,
        attributes=attributes,
        source=source,
    )
    logger.info("%s", report)
    return report


def _checkpoint(path_or_state_dict: str | Path | Mapping[str, Tensor] | Checkpoint) -> Checkpoint:
    if isinstance(path_or_state_dict, Checkpoint):
        return path_or_state_dict
    if isinstance(path_or_state_dict, Mapping):
        return split_checkpoint(path_or_state_dict)
    return read_checkpoint(path_or_state_dict)


def _is_optional(name: str, translation: Translation, *, has_head: bool) -> bool:
    """Return whether a file may lack an entry: batch counts; to fine-tune, also head and non-local blocks."""
    if name.endswith("num_batches_tracked"):
        return True
    return (is_head(name) or ".non_local." in name) and (not has_head or translation.format == IMAGENET)
