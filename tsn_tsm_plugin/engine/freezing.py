"""FrozenModules, freeze_modules: frozen parts of a network, and the partial batch norm of the TSN paper."""

import difflib

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.layers.network_stages import network_stages


class FrozenModules:
    """Puts a network into train mode, except its frozen modules.

    Creating the object disables gradients of frozen parameters. Build the optimiser and synchronise batch
    norm afterwards.

    Args:
        model: The network.
        frozen_modules: Names of submodules with fixed weights and statistics, such as ``backbone.layer1``.
        frozen_stages: Frozen stages of the backbone after the stem; 0 freezes the stem only, -1 nothing.
            See :func:`~tsn_tsm_plugin.layers.network_stages.network_stages`.
        partial_bn: Freeze statistics and affine weights of every 2D batch norm but the first (Wang et al.,
            "Temporal Segment Networks", arXiv:1608.00859, section 3.3).
        freeze_stats: Freeze the statistics of every batch norm in the backbone, but not its affine weights.

    Attributes:
        frozen: The frozen modules with all their submodules.

    Raises:
        ConfigError: If the network lacks a named module, or has fewer stages.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        frozen_modules: tuple[str, ...] = (),
        frozen_stages: int = -1,
        partial_bn: bool = False,
        freeze_stats: bool = False,
    ) -> None:
        self._model = model
        self._freeze_stats = freeze_stats
        modules = dict(model.named_modules())
        unknown = [name for name in frozen_modules if not name or name not in modules]
        if unknown:
            near = difflib.get_close_matches(unknown[0], modules, n=3)
            raise ConfigError(
                f"MODEL.FROZEN_MODULES must name modules of the network, got {unknown[0]!r}; it has "
                f"{', '.join(near or list(modules)[1:6])}."
            )
        self.frozen = [modules[name] for name in frozen_modules]
        if frozen_stages >= 0:
            self.frozen += _frozen_stages(model.get_submodule("backbone"), frozen_stages)
        if partial_bn:
            self.frozen += [m for m in modules.values() if isinstance(m, nn.BatchNorm2d)][1:]
        for module in self.frozen:
            module.requires_grad_(False)

    def set_train_mode(self) -> None:
        """Put the network into train mode, and frozen modules into eval mode."""
        self._model.train()
        for module in self.frozen:
            module.eval()
        if self._freeze_stats:
            # Find the norms at each call: synchronisation may have replaced them.
            for module in self._model.get_submodule("backbone").modules():
                if isinstance(module, _BatchNorm):
                    module.eval()


def freeze_modules(cfg: CfgNode, model: nn.Module) -> FrozenModules:
    """Freeze the parts of a network that a recipe names."""
    return FrozenModules(
        model,
        frozen_modules=tuple(cfg.MODEL.FROZEN_MODULES),
        frozen_stages=cfg.MODEL.FROZEN_STAGES,
        partial_bn=cfg.MODEL.PARTIAL_BN,
        freeze_stats=cfg.BN.FREEZE_STATS,
    )


def _frozen_stages(backbone: nn.Module, number: int) -> list[nn.Module]:
    """Return the modules of the stem and of the first stages; parameters before them are frozen."""
    stem, *stages = network_stages(backbone)
    if number > len(stages):
        raise ConfigError(
            f"MODEL.FROZEN_STAGES must be at most {len(stages)}, the stages of this backbone, got {number}. "
            "MODEL.FROZEN_MODULES names modules instead."
        )
    in_stages = [f"{name}." for names in (stem, *stages) for name in names]
    for name, parameter in backbone.named_parameters():
        if not name.startswith(tuple(in_stages)):
            parameter.requires_grad_(False)
    return [backbone.get_submodule(name) for names in (stem, *stages[:number]) for name in names]
