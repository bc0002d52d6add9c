"""find_shift_sites, match_sites: the submodules of a 2D network that see shifted features."""

import fnmatch
import re
from collections.abc import Iterator, Sequence

from torch import nn

from tsn_tsm_plugin.models.backbones.residual_branches import RESIDUAL_BRANCHES, ResidualBranch
from tsn_tsm_plugin.models.backbones.site_features import SiteFeatures, probe_sites

# From this many blocks in `layer3` on (ResNet-101, ResNet-152), only every second block is shifted.
_DEEP_STAGE3 = 23
_SHIFT_PLACES = ("blockres", "block")
_NUM_EXAMPLES = 4


def find_shift_sites(network: nn.Module, shift_place: str) -> list[str]:
    """Return the dotted names of the submodules that see shifted features; empty if no block is known.

    Args:
        network: A 2D network.
        shift_place: ``"blockres"``: the first layer of the residual branch; the identity is not shifted. A
            ResNet with at least 23 blocks in ``layer3`` shifts every second block.
            ``"block"``: every block as a whole.

    Raises:
        ValueError: If ``shift_place`` is unknown.
    """
    if shift_place not in _SHIFT_PLACES:
        raise ValueError(f"shift_place must be 'blockres' or 'block', got {shift_place!r}.")
    blocks = list(_residual_blocks(network))
    if shift_place == "block":
        return [name for name, _ in blocks]
    stage3 = getattr(network, "layer3", None)
    if isinstance(stage3, nn.Sequential) and len(stage3) >= _DEEP_STAGE3:
        blocks = [(name, first) for name, first in blocks if int(name.rpartition(".")[2]) % 2 == 0]
    return [f"{name}.{first}".rstrip(".") for name, first in blocks]


def match_sites(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Return the names of the submodules that match any of the patterns, in the order of the network.

    Example:
        >>> network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
        >>> match_sites(network, ["[02]"])
        ['0', '2']

    Args:
        network: A 2D network.
        patterns: Dotted names in which ``*`` stands for any part between two dots, such as
            ``"blocks.*.mlp"``; ``?`` and ``[0-3]`` as in file names. The leading ``trunk.`` of timm's and
            torchvision's names is optional.

    Raises:
        ValueError: If a pattern matches nothing.
    """
    names = [name for name, _ in network.named_modules() if name]
    found: set[str] = set()
    for pattern in patterns:
        expression = re.compile(rf"(?:trunk\.)?(?:{_translate(pattern)})")
        matches = [name for name in names if expression.fullmatch(name)]
        if not matches:
            raise ValueError(
                f"sites must name submodules of {type(network).__name__}, got {pattern!r}, which matches none"
                f"; it has {', '.join(_examples(names))}, ...; see named_modules()."
            )
        found.update(matches)
    return [name for name in names if name in found]


def _translate(pattern: str) -> str:
    parts = (fnmatch.translate(part).removesuffix(r"\Z").removesuffix(r"\z") for part in pattern.split("."))
    return r"\.".join(part.replace("(?s:.*)", r"[^.]*") for part in parts)


def _examples(names: Sequence[str]) -> list[str]:
    """Return a few deep names from the whole network, as examples."""
    deep = [name for name in names if name.count(".") >= 2] or list(names)
    return deep[:: max(1, len(deep) // _NUM_EXAMPLES)][:_NUM_EXAMPLES]


def site_features(network: nn.Module, sites: Sequence[str], *, are_named: bool) -> dict[str, SiteFeatures]:
    """Return the features at the sites of the shift; sites that see windows of a frame are skipped.

    Args:
        network: A 2D network.
        sites: Dotted names of submodules.
        are_named: Whether the caller named the sites; a site that does not fit is then an error.

    Raises:
        ValueError: If a named site does not see the features of whole frames.
    """
    features: dict[str, SiteFeatures] = {}
    unclear = [site for site in sites if are_named or not _reads_feature_map(network.get_submodule(site))]
    probed = probe_sites(network, unclear) if unclear else {}
    for site in sites:
        found = probed.get(site, SiteFeatures(0, 1))
        if not found.fault:
            features[site] = found
        elif are_named:
            raise ValueError(f"The site {site!r} cannot be shifted: {found.fault}. Name other sites.")
    return features


def _reads_feature_map(module: nn.Module) -> bool:
    """Return whether the first layer is a 2D convolution or batch norm, which needs no dry run."""
    for layer in module.modules():
        if next(layer.parameters(recurse=False), None) is not None:
            return isinstance(layer, nn.Conv2d | nn.BatchNorm2d)
    return False


def _residual_blocks(network: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the name of every block that adds its input, and the name of its first layer within it."""
    for name, module in network.named_modules():
        branch = _branch_of(module)
        if branch is None or (branch.adds_input and not getattr(module, branch.adds_input)):
            continue
        for first in branch.first:
            layer = _submodule(module, first)
            if layer is not None and _is_shiftable(layer, branch):
                yield name, first
                break


def _submodule(module: nn.Module, name: str) -> nn.Module | None:
    found: object = module
    for part in name.split(".") if name else ():
        found = getattr(found, part, None)
    return found if isinstance(found, nn.Module) and not isinstance(found, nn.Identity) else None


def _branch_of(module: nn.Module) -> ResidualBranch | None:
    for cls in type(module).__mro__:
        branch = RESIDUAL_BRANCHES.get(f"{cls.__module__}.{cls.__name__}")
        if branch is not None:
            return branch
    return None


def _is_shiftable(layer: nn.Module, branch: ResidualBranch) -> bool:
    conv = next((module for module in layer.modules() if isinstance(module, nn.Conv2d)), None)
    if conv is None:
        return not branch.is_expanding
    if branch.is_expanding and conv.kernel_size != (1, 1):
        return False
    # Nothing can be shifted in a stem that reads RGB: 3 // shift_div is 0.
    return conv.in_channels > 3
