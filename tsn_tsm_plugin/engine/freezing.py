"""FrozenModules: the parts of a network that do not learn, and the partial batch norm of the TSN paper."""

import difflib

from torch import nn

from tsn_tsm_plugin.errors import ConfigError


class FrozenModules:
    """Puts a network into train mode, except its frozen modules.

    Frozen parameters need no gradient from the moment this is made; build the optimiser, and synchronise
    batch norm, afterwards.

    Args:
        model: The network.
        frozen_modules: Names of submodules whose weights and statistics stay, such as ``backbone.layer1``.
        partial_bn: Freeze every 2D batch norm but the first: its statistics and its affine weights (Wang et
            al., "Temporal Segment Networks", arXiv:1608.00859, section 3.3).

    Attributes:
        frozen: The modules that do not learn, with all that is below them.

    Raises:
        ConfigError: If the network has no module of a name.
    """

    def __init__(
        self, model: nn.Module, *, frozen_modules: tuple[str, ...] = (), partial_bn: bool = False
    ) -> None:
        self._model = model
        modules = dict(model.named_modules())
        unknown = [name for name in frozen_modules if not name or name not in modules]
        if unknown:
            near = difflib.get_close_matches(unknown[0], modules, n=3)
            raise ConfigError(
                f"MODEL.FROZEN_MODULES must name modules of the network, got {unknown[0]!r}; it has "
                f"{', '.join(near or list(modules)[1:6])}."
            )
        self.frozen = [modules[name] for name in frozen_modules]
        if partial_bn:
            self.frozen += [m for m in modules.values() if isinstance(m, nn.BatchNorm2d)][1:]
        for module in self.frozen:
            module.requires_grad_(False)

    def set_train_mode(self) -> None:
        """Put the network into train mode and what is frozen into eval mode."""
        self._model.train()
        for module in self.frozen:
            module.eval()
