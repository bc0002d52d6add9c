"""NonLocalOptions, find_non_local_sites: the kind of non-local blocks and the blocks that they follow.

Source: Wang et al., "Non-local Neural Networks", arXiv:1711.07971, section 4: five non-local blocks in a
ResNet-50, after every second block of stages 2 and 3. In the references these blocks are 0, 2 and 0, 2, 4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

# Blocks of the stages of a ResNet that a non-local block follows.
_PAPER_SITES = {"layer2": (0, 2), "layer3": (0, 2, 4)}


@dataclass(frozen=True)
class NonLocalOptions:
    """A kind of non-local block and the backbone blocks that it follows.

    Attributes:
        kind: See :class:`~tsn_tsm_plugin.layers.non_local.NonLocal`.
        sites: Dotted names of backbone blocks that a non-local block follows; empty: as in the paper.
        use_scale: See :class:`~tsn_tsm_plugin.layers.non_local.NonLocal`.
        sub_sample: See :class:`~tsn_tsm_plugin.layers.non_local.NonLocal`.
    """

    kind: str
    sites: Sequence[str] = field(default=())
    use_scale: bool = False
    sub_sample: bool = True

    @classmethod
    def parse(
        cls, non_local: "str | tuple[str, Sequence[str]] | Mapping[str, Any] | NonLocalOptions"
    ) -> "NonLocalOptions":
        """Read a kind, a pair of kind and sites, or a mapping of the attributes."""
        if isinstance(non_local, NonLocalOptions):
            return non_local
        if isinstance(non_local, str):
            return cls(non_local)
        if isinstance(non_local, Mapping):
            unknown = set(non_local) - set(cls.__dataclass_fields__)
            if unknown or "kind" not in non_local:
                raise ValueError(
                    "non_local must have the keys kind, sites, use_scale and sub_sample, the last three if "
                    f"they differ, got {sorted(non_local)}."
                )
            return cls(**non_local)
        kind, sites = non_local
        return cls(kind, tuple(sites))


def find_non_local_sites(backbone: nn.Module, sites: Sequence[str] = ()) -> dict[str, int]:
    """Return the number of output channels of every block that a non-local block follows.

    Args:
        backbone: A 2D network.
        sites: Dotted names of blocks; empty: blocks 0 and 2 of ``layer2`` and 0, 2, 4 of ``layer3``, as far
            as they exist.

    Raises:
        ValueError: If a block does not exist, or the backbone is not a ResNet and no block is named.
    """
    modules = dict(backbone.named_modules())
    if not sites:
        sites = [
            f"{prefix}{stage}.{index}"
            for prefix in ("", "trunk.")
            for stage, indices in _PAPER_SITES.items()
            for index in indices
            if f"{prefix}{stage}.{index}" in modules
        ]
    unknown = [site for site in sites if site not in modules]
    if unknown or not sites:
        raise ValueError(
            f"non_local needs names of blocks of {type(backbone).__name__}, got {unknown or 'none'}: give a "
            "pair of kind and names such as ('dot_product', ['layer2.0']), see named_modules()."
        )
    return {site: _num_out_channels(modules[site], site) for site in sites}


def _num_out_channels(block: nn.Module, site: str) -> int:
    convs = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
    if not convs:
        raise ValueError(f"non_local must follow a block with convolutions, got {site!r}.")
    # The last convolution ends the residual branch or is the projection added to it.
    return convs[-1].out_channels
