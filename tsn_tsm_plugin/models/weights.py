"""Load checkpoints of this library, of MMAction2 and mit-han-lab, and ImageNet weights, all or nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.models.checkpoint_file import Checkpoint, read_checkpoint, split_checkpoint
from tsn_tsm_plugin.models.checkpoint_names import (
    IMAGENET,
    detect_format,
    pytorchvideo_name,
    translate,
    without_wrappers,
)
from tsn_tsm_plugin.models.mismatch import explain_mismatch

logger = get_logger(__name__)

# What image classifiers call their last layer.
_CLASSIFIERS = ("fc.", "classifier.", "head.", "heads.")


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load_weights` did.

    Attributes:
        format: Where the file comes from, e.g. ``"MMAction2"``.
        num_mapped: Entries of the file that went into the model.
        missing: Entries of the model that the file has not; they keep their values.
        unexpected: Entries of the file that were left out.
        source: The file, or how the state dict was given.
    """

    format: str
    num_mapped: int
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    source: str = ""

    def __str__(self) -> str:
        left = "".join(
            f"; {name}: {', '.join(keys)}"
            for name, keys in (("not in the file", self.missing), ("left out", self.unexpected))
            if keys
        )
        return f"{self.source}: {self.format}, {self.num_mapped} entries loaded{left}"


def load_weights(
    model: nn.Module,
    path_or_state_dict: str | Path | Mapping[str, Tensor],
    *,
    ignore_head: bool = False,
    allow_globals: Sequence[str] = (),
) -> LoadReport:
    """Load a checkpoint into a TSN or TSM; the format is found from its names.

    Read are this library's own files, MMAction2 0.x and 1.x, mit-han-lab TSM (each with or without a leading
    ``module.``) and torchvision's ImageNet classifiers, whose last layer is left out and reported. The model
    may also be PyTorchVideo's, from ``create_resnet(bottleneck=tsm_bottleneck, head=create_tsm_head)``.

    All names and shapes are compared first: either everything fits, or the model stays as it was.

    Args:
        model: From ``create_tsn``, ``create_tsm``, ``build_model`` or ``create_resnet``.
        path_or_state_dict: A file of ``torch.save``, a ``.safetensors`` file, or the content of one.
        ignore_head: Leave the classifier out, to fine-tune on other classes.
        allow_globals: See :func:`~tsn_tsm_plugin.models.checkpoint_file.read_checkpoint`.

    Raises:
        CheckpointError: If the file cannot be read or does not fit the model; nothing is loaded then.
    """
    checkpoint = _checkpoint(path_or_state_dict, allow_globals)
    source = checkpoint.path or "the given state dict"
    source_format = detect_format(checkpoint.state_dict)
    target = model.state_dict()
    state_dict, unexpected = _in_names_of_model(checkpoint.state_dict, source_format, target, source)
    if ignore_head:
        unexpected += [name for name in state_dict if _is_head(name)]
        state_dict = {name: value for name, value in state_dict.items() if not _is_head(name)}
    optional = [
        name
        for name in target
        if name.endswith("num_batches_tracked")
        or (_is_head(name) and (ignore_head or source_format == IMAGENET))
    ]
    missing = [name for name in target if name not in state_dict]
    reason = explain_mismatch(state_dict, target, optional=optional)
    if reason:
        raise CheckpointError(
            f"{source} ({source_format}) does not fit the model: {reason} Nothing was loaded."
        )
    model.load_state_dict(state_dict, strict=False)
    report = LoadReport(source_format, len(state_dict), missing, unexpected, source)
    logger.info("%s", report)
    return report


def _checkpoint(
    path_or_state_dict: str | Path | Mapping[str, Tensor], allow_globals: Sequence[str]
) -> Checkpoint:
    if isinstance(path_or_state_dict, Mapping):
        return split_checkpoint(path_or_state_dict)
    return read_checkpoint(path_or_state_dict, allow_globals=allow_globals)


def _is_head(name: str) -> bool:
    return name.startswith(("head.", "blocks.5."))


def _in_names_of_model(
    state_dict: dict[str, Tensor], source_format: str, target: dict[str, Tensor], source: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors under the model's names, and the names of what has no place in the model."""
    try:
        own_names = translate(state_dict, source_format=source_format)
    except ValueError as error:
        raise CheckpointError(f"{source} ({source_format}) is ambiguous: {error}") from error
    renamed = {own_name: state_dict[key] for key, own_name in own_names.items()}
    unexpected: list[str] = []
    is_native = any(name.startswith("blocks.0.") for name in target)
    if source_format == IMAGENET:
        unexpected = [name for name in renamed if name.startswith(_CLASSIFIERS)]
        renamed = {f"backbone.{name}": value for name, value in renamed.items() if name not in unexpected}
    if is_native and not any(name.startswith("blocks.0.") for name in renamed):
        renamed = {pytorchvideo_name(name): value for name, value in renamed.items()}
        renamed = {
            name: value.unsqueeze(2) if name in target and target[name].ndim == value.ndim + 1 else value
            for name, value in renamed.items()
        }
    if source_format == IMAGENET:
        wrapped_names = {without_wrappers(name): name for name in target}
        renamed = {wrapped_names.get(name, name): value for name, value in renamed.items()}
    return renamed, unexpected
