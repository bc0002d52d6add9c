"""Say in a sentence why a state dict does not fit a model, and what would."""

from collections.abc import Collection, Iterable, Mapping

from torch import Tensor, nn

from tsn_tsm_plugin.checkpoints.metadata import Fact
from tsn_tsm_plugin.checkpoints.source_format import without_wrappers

# What a checkpoint may say about its network and a model about itself.
COMPARED_FACTS = (
    "num_segments",
    "shift_div",
    "causal",
    "non_local",
    "non_local_sub_sample",
    "non_local_use_scale",
    "dataset",
)
_NUM_EXAMPLES = 3


def explain_mismatch(
    given: Mapping[str, Tensor], target: Mapping[str, Tensor], *, optional: Iterable[str] = ()
) -> str:
    """Compare names and shapes; return "" if they fit.

    Args:
        given: The tensors of a checkpoint, under the names of the model.
        target: The state dict of the model.
        optional: Names of the model that a checkpoint may leave out.
    """
    left_out = set(optional)
    missing = [name for name in target if name not in given and name not in left_out]
    unexpected = [name for name in given if name not in target]
    reshaped = [name for name in given if name in target and given[name].shape != target[name].shape]
    if not (missing or unexpected or reshaped):
        return ""
    return (
        _explain_non_local(missing, unexpected)
        or _explain_wrappers(missing, unexpected, given, target)
        or _explain_classes(missing, unexpected, reshaped, given, target)
        or _list_differences(missing, unexpected, reshaped, given, target)
    )


def _explain_non_local(missing: list[str], unexpected: list[str]) -> str:
    """Explain non-local blocks on one side only, or at other places."""
    in_model, in_file = _non_local_places(missing), _non_local_places(unexpected)
    if in_model == in_file:
        return ""
    return (
        f"the file has further non-local blocks after {_examples(in_file) or 'none'} and the model after "
        f"{_examples(in_model) or 'none'}. Build the model with the file's, create_tsm(non_local=...)."
    )


def _non_local_places(names: list[str]) -> list[str]:
    places = {name.partition(".non_local.")[0] for name in names if ".non_local." in name}
    return sorted(place.removeprefix("backbone.") for place in places)


def _explain_wrappers(
    missing: list[str], unexpected: list[str], given: Mapping[str, Tensor], target: Mapping[str, Tensor]
) -> str:
    """Explain names that differ only in ``.net``: the sites of the shift."""
    in_model, in_file = _wrapped_sites(missing), _wrapped_sites(unexpected)
    if not (in_model or in_file) or _bare_names(given) != _bare_names(target):
        return ""
    if in_model and not in_file:
        return (
            f"the model shifts {len(in_model)} sites ({_examples(in_model)}) that the file does not: a TSN "
            "checkpoint in a TSM, or another TSM. Build create_tsn(), or give a checkpoint of this TSM."
        )
    if in_file and not in_model:
        return (
            f"the file shifts {len(in_file)} sites ({_examples(in_file)}) that the model does not: a TSM "
            "checkpoint in a TSN, or in a TSM of another kind. Build create_tsm(), or give a TSN checkpoint."
        )
    return (
        f"file and model shift at different sites: {_examples(in_file)} in the file, {_examples(in_model)} "
        "in the model. Build the TSM with the file's shift_place and temporal_pool."
    )


def _bare_names(names: Iterable[str]) -> set[str]:
    # Files from before PyTorch 0.4.1 have no batch counts.
    return {without_wrappers(name) for name in names if not name.endswith("num_batches_tracked")}


def _wrapped_sites(names: list[str]) -> list[str]:
    return sorted({name.rpartition(".net.")[0] for name in names if ".net." in name})


def _explain_classes(
    missing: list[str],
    unexpected: list[str],
    reshaped: list[str],
    given: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
) -> str:
    """Explain a classifier of another size, where everything else fits."""
    if missing or unexpected or not all(".fc." in name for name in reshaped):
        return ""
    in_file, in_model = given[reshaped[0]].shape[0], target[reshaped[0]].shape[0]
    if in_file == in_model:
        return ""
    return (
        f"the file has {in_file} classes and the model {in_model}. Build it with num_classes={in_file}, or "
        "leave the classifier out with ignore_head=True to fine-tune."
    )


def _list_differences(
    missing: list[str],
    unexpected: list[str],
    reshaped: list[str],
    given: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
) -> str:
    parts = []
    if missing:
        parts.append(f"{len(missing)} entries are missing ({_examples(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} are unexpected ({_examples(unexpected)})")
    if reshaped:
        shapes = [
            f"{name}: {tuple(given[name].shape)} in the file, {tuple(target[name].shape)} in the model"
            for name in reshaped
        ]
        parts.append(f"{len(reshaped)} have another shape ({_examples(shapes)})")
    return "; ".join(parts) + ". The file is of another backbone, depth or method: build the model it is for."


def _examples(names: list[str]) -> str:
    return ", ".join(names[:_NUM_EXAMPLES]) + (", ..." if len(names) > _NUM_EXAMPLES else "")


def explain_conflict(facts: Mapping[str, Fact], model: nn.Module, *, ignored: Collection[str] = ()) -> str:
    """Compare what a checkpoint says about its network with a model; return "" if they agree.

    Args:
        facts: Of :func:`~tsn_tsm_plugin.checkpoints.metadata.find_facts`.
        model: Its attributes for :data:`COMPARED_FACTS` are compared, as far as it has them.
        ignored: Facts that may differ.
    """
    for name, in_model in _facts_of_model(model).items():
        fact = facts.get(name)
        if fact is None or name in ignored or fact.value == in_model:
            continue
        if name == "dataset" and fact.origin == "class count":
            continue
        return (
            f"the file is for {name}={fact.value} (says its {fact.origin}), the model for {name}={in_model}. "
            f"Build the model with {name}={fact.value}, or let it differ with ignore_facts=[{name!r}], in a "
            f"recipe TRAIN.CHECKPOINT_ALLOW_MISMATCH [{name!r}]."
        )
    return ""


def _facts_of_model(model: nn.Module) -> dict[str, object]:
    facts: dict[str, object] = {}
    if hasattr(model, "shift_div"):
        facts = {name: getattr(model, name) for name in ("num_segments", "shift_div", "causal")}
    non_local = getattr(model, "non_local", None)
    if non_local is not None:
        facts["non_local"] = non_local.kind
        facts["non_local_sub_sample"] = non_local.sub_sample
        if non_local.kind == "embedded_gaussian":  # The others have no softmax of inner products to scale.
            facts["non_local_use_scale"] = non_local.use_scale
    if getattr(model, "dataset", ""):
        facts["dataset"] = model.dataset
    return facts
