"""network_stages: split an image network into its stem and its stages, in forward order."""

from collections.abc import Iterator

from torch import nn

_CONVOLUTIONS_AND_LINEARS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
# A container with more than this fraction of the parameters is the trunk of its network, not a stage.
_TRUNK_PART = 0.8


def network_stages(network: nn.Module) -> list[list[str]]:
    """Return the names of the modules of the stem and of each stage.

    Each module with parameters is in exactly one list. Parameters of the network itself, such as a class
    token, are in no list.

    A stage begins at the first block after the stem, and at each block that lowers the resolution: ``layer1``
    to ``layer4`` of a ResNet. A network whose blocks all keep the resolution, such as a vision transformer,
    has one stage for each block.

    Args:
        network: Network whose modules are declared in the order of the forward pass.

    Returns:
        Lists of dotted names, the stem first.
    """
    parts = list(_parts(network, ""))
    names = [name for name, module in parts if _num_parameters(module)]
    is_block = {name: _num_layers(module) > 1 and name != names[0] for name, module in parts}
    stages: list[list[str]] = [[]]
    is_lowered = False
    for name, module in parts:
        is_lowered |= _lowers_resolution(module)
        if not _num_parameters(module):
            continue
        starts = is_block[name] and (is_lowered or len(stages) == 1)
        if starts:
            stages.append([])
        if starts or not is_block[name]:
            is_lowered = False
        stages[-1].append(name)
    if len(stages) == 2:
        stages = [stages[0], *_one_stage_a_block(stages[1], is_block)]
    return stages


def _one_stage_a_block(names: list[str], is_block: dict[str, bool]) -> Iterator[list[str]]:
    starts = [i for i, name in enumerate(names) if is_block[name]]
    for start, end in zip(starts, [*starts[1:], len(names)], strict=True):
        yield names[start:end]


def _parts(network: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the children of a network; containers of several stages are replaced by their own children."""
    total = _num_parameters(network)
    for name, child in network.named_children():
        if _is_trunk(child, total):
            yield from _parts(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def _is_trunk(module: nn.Module, total: int) -> bool:
    if _num_parameters(module) > _TRUNK_PART * total and _num_layers(module) > 1:
        return True
    is_sequence = isinstance(module, nn.Sequential | nn.ModuleList)
    return is_sequence and sum(map(_lowers_resolution, module.children())) > 1


def _num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _num_layers(module: nn.Module) -> int:
    return sum(isinstance(part, _CONVOLUTIONS_AND_LINEARS) for part in module.modules())


def _lowers_resolution(module: nn.Module) -> bool:
    return any(_stride(part) > 1 for part in module.modules())


def _stride(module: nn.Module) -> int:
    stride = getattr(module, "stride", 1)
    return max(stride) if isinstance(stride, tuple | list) else stride if isinstance(stride, int) else 1
