"""tsn_param_groups, tsm_param_groups: parameter groups with their learning rates and weight decays.

Source: ``get_optim_policies`` of mit-han-lab/temporal-shift-module and ``TSMOptimizerConstructor`` of
MMAction2, which agree on the seven groups of TSM. TSN trains all parameters alike.
"""

from typing import Any

from torch import nn

from tsn_tsm_plugin.layers.network_stages import network_stages

_CONVOLUTIONS_AND_LINEARS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)

# Name of each group, its factor on the learning rate and its factor on the weight decay; the classifier's
# learning rate has a further factor.
_TSM_GROUPS = (
    ("first_conv_weight", 1.0, 1.0),
    ("first_conv_bias", 2.0, 0.0),
    ("normal_weight", 1.0, 1.0),
    ("normal_bias", 2.0, 0.0),
    ("norm", 1.0, 0.0),
    ("classifier_weight", 1.0, 1.0),
    ("classifier_bias", 2.0, 0.0),
)


def tsn_param_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Return one group with every trainable parameter; norms and biases decay like the rest.

    Args:
        model: Parameters with ``requires_grad`` false are skipped.
        weight_decay: L2 penalty of the group.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [_group("all", parameters, 1.0, 1.0, weight_decay)]


def tsm_param_groups(
    model: nn.Module, *, weight_decay: float, classifier_lr_mult: float = 5.0
) -> list[dict[str, Any]]:
    """Return TSM's seven groups, in the references' order; groups without members are kept, empty.

    ==================  =======================================================  ====  ====
    group               members                                                  lr x  wd x
    ==================  =======================================================  ====  ====
    first_conv_weight   weight of the first convolution in module order          1     1
    first_conv_bias     its bias                                                 2     0
    normal_weight       weights of the other convolutions and linear layers      1     1
    normal_bias         their biases                                             2     0
    norm                weights and biases of norms; gains, tokens, embeddings   1     0
    classifier_weight   weight of the last convolution or linear layer           5     1
    classifier_bias     its bias                                                 10    0
    ==================  =======================================================  ====  ====

    The references' backbones have convolutions, linear layers and batch norms only. Parameters of other
    modules with at most one axis, such as gains and layer scales, are treated as norms. So are the parameters
    that timm's networks list in ``no_weight_decay()``, such as position embeddings. All other parameters are
    treated as weights of convolutions.

    Args:
        model: Parameters with ``requires_grad`` false are skipped.
        weight_decay: L2 penalty of the groups whose factor is 1.
        classifier_lr_mult: Factor on the learning rate of the classifier's weight; the factor of its bias is
            twice as large. The references use 5, and 1 without ``fc_lr5``.
    """
    members: dict[str, list[nn.Parameter]] = {name: [] for name, _, _ in _TSM_GROUPS}
    layers = [m for m in model.modules() if isinstance(m, _CONVOLUTIONS_AND_LINEARS)]
    undecayed = _undecayed_names(model)
    grouped: set[nn.Parameter] = set()
    for name, module in model.named_modules():
        is_layer = isinstance(module, _CONVOLUTIONS_AND_LINEARS)
        role = "normal"
        if is_layer and module is layers[-1]:
            role = "classifier"
        elif is_layer and module is layers[0] and not isinstance(module, nn.Linear):
            role = "first_conv"
        for key, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in grouped:
                continue
            grouped.add(parameter)
            if is_layer and key in ("weight", "bias"):
                members[f"{role}_{key}"].append(parameter)
            elif isinstance(module, _NORMS) or parameter.ndim <= 1 or f"{name}.{key}" in undecayed:
                members["norm"].append(parameter)
            else:
                members["normal_weight"].append(parameter)
    return [
        _group(
            name,
            members[name],
            lr * classifier_lr_mult if name.startswith("classifier") else lr,
            decay,
            weight_decay,
        )
        for name, lr, decay in _TSM_GROUPS
    ]


def with_layer_decay(
    param_groups: list[dict[str, Any]], model: nn.Module, *, decay: float
) -> list[dict[str, Any]]:
    """Split groups by the stages of the backbone, with learning rates that decrease towards the stem.

    The factor is 1 for the head and ``decay`` for the last stage. Each earlier stage has ``decay`` times the
    factor of the next stage. Source: BEiT (Bao et al., arXiv:2106.08254), appendix H; stages replace blocks.

    Args:
        param_groups: Result of :func:`tsn_param_groups` or :func:`tsm_param_groups`.
        model: The network, whose ``backbone`` has the stages.
        decay: Factor between stages, in (0, 1).
    """
    stages = network_stages(model.get_submodule("backbone"))
    names = {parameter: name for name, parameter in model.named_parameters()}
    divided = []
    for group in param_groups:
        members: dict[int, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            members.setdefault(_depth(names[parameter], stages), []).append(parameter)
        for depth, parameters in sorted(members.items()):
            title = "head" if depth == len(stages) else f"stage{depth}" if depth else "stem"
            factor = decay ** (len(stages) - depth)
            name, lr_mult = f"{group['name']}/{title}", group["lr_mult"] * factor
            divided.append({**group, "params": parameters, "name": name, "lr_mult": lr_mult})
    return divided


def _depth(name: str, stages: list[list[str]]) -> int:
    """Return the stage of a parameter: 0 in or before the stem, the number of stages in the head."""
    if not name.startswith("backbone."):
        return len(stages)
    found = [
        depth
        for depth, modules in enumerate(stages)
        if name.startswith(tuple(f"backbone.{module}." for module in modules))
    ]
    return found[0] if found else 0


def _undecayed_names(model: nn.Module) -> set[str]:
    """Return the names of parameters that a network excludes from decay, as timm's networks do."""
    found: set[str] = set()
    for name, module in model.named_modules():
        if callable(list_names := getattr(module, "no_weight_decay", None)):
            found |= {f"{name}.{parameter}".lstrip(".") for parameter in list_names()}
    return found


def _group(
    name: str, parameters: list[nn.Parameter], lr_mult: float, decay_mult: float, weight_decay: float
) -> dict[str, Any]:
    return {
        "params": parameters,
        "name": name,
        "lr_mult": lr_mult,
        "decay_mult": decay_mult,
        "weight_decay": weight_decay * decay_mult,
    }


def format_param_groups(param_groups: list[dict[str, Any]]) -> str:
    """Format the groups as a table: name, tensors, parameters, and the factors on lr and weight decay."""
    width = max([18, *(len(group["name"]) + 2 for group in param_groups)])
    lines = [f"{'group':<{width}}{'tensors':>8}{'parameters':>12}{'lr x':>8}{'wd x':>6}"]
    for group in param_groups:
        num_parameters = sum(p.numel() for p in group["params"])
        lines.append(
            f"{group['name']:<{width}}{len(group['params']):>8}{num_parameters:>12,}"
            f"{group['lr_mult']:>8.3g}{group['decay_mult']:>6g}"
        )
    return "\n".join(lines)
