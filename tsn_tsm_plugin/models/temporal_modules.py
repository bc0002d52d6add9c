"""TemporalModuleOptions, plan_temporal_modules: temporal modules at the sites of a backbone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from tsn_tsm_plugin.layers.non_local import NON_LOCAL_KINDS, NonLocal, NonLocalAfter
from tsn_tsm_plugin.layers.temporal_module import WithTemporalModule
from tsn_tsm_plugin.layers.temporal_shift import TemporalShift
from tsn_tsm_plugin.models.backbones.non_local_sites import NonLocalOptions, find_non_local_sites
from tsn_tsm_plugin.models.backbones.shift_sites import match_sites, site_features
from tsn_tsm_plugin.models.backbones.site_features import probe_sites
from tsn_tsm_plugin.registry import TEMPORAL_MODULES, bind_arguments

SHIFT = "temporal_shift"
NON_LOCAL = "non_local"

# A site, and the function that wraps the module there.
Wrapper = tuple[str, Callable[[nn.Module], nn.Module]]


@dataclass(frozen=True)
class TemporalModuleOptions:
    """A temporal module, its sites and its keyword arguments.

    Attributes:
        name: Name of a registered temporal module; ``"temporal_shift"`` and ``"non_local"`` are built in.
        sites: Patterns of submodule names, see :func:`match_sites`; empty: the sites that the backbone
            declares, or for ``"non_local"`` the blocks of the paper.
        options: Keyword arguments of the module.
    """

    name: str
    sites: Sequence[str] = field(default=())
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: "str | Mapping[str, Any] | TemporalModuleOptions") -> "TemporalModuleOptions":
        """Read a name, or a mapping with the keys ``name``, ``sites`` and ``options`` in any case."""
        if isinstance(value, TemporalModuleOptions):
            return value
        if isinstance(value, str):
            return cls(value)
        entry = {str(key).lower(): item for key, item in value.items()}
        sites, options = entry.get("sites", ()), entry.get("options", {})
        is_right = isinstance(entry.get("name"), str) and isinstance(options, Mapping)
        if not is_right or set(entry) - {"name", "sites", "options"}:
            raise ValueError(
                "temporal_modules must hold names, or mappings with the keys name, sites (a list of "
                f"patterns) and options (a mapping), the last two if needed, got {dict(value)!r}."
            )
        return cls(entry["name"], (sites,) if isinstance(sites, str) else tuple(sites), dict(options))

    def with_defaults(self, preset: "TemporalModuleOptions") -> "TemporalModuleOptions":
        """Add the sites and options of a preset of the same name, unless this module sets its own."""
        if self.name != preset.name:
            return self
        return TemporalModuleOptions(
            self.name, self.sites or preset.sites, {**preset.options, **self.options}
        )

    def non_local(self) -> NonLocalOptions:
        """Return the options of non-local blocks."""
        return NonLocalOptions.parse({"kind": NON_LOCAL_KINDS[0], **self.options})


def plan_temporal_modules(
    backbone: nn.Module,
    modules: Sequence[TemporalModuleOptions],
    *,
    declared_sites: Sequence[str],
    num_frames_at: Callable[[str], int],
) -> dict[str, list[Wrapper]]:
    """Find the sites of temporal modules, and make the modules.

    Args:
        backbone: A 2D network; not modified.
        modules: Temporal modules; at a shared site, a later module wraps an earlier module.
        declared_sites: Sites of modules that name no sites.
        num_frames_at: Function from a submodule's name to the frames of a video there.

    Returns:
        The sites and their wrappers, by name of the module.

    Raises:
        ValueError: If a site or an option does not fit.
        UnknownComponentError: If no module of that name is registered.
    """
    planned: dict[str, list[Wrapper]] = {}
    for module in modules:
        if module.name in planned:
            raise ValueError(f"temporal_modules must name {module.name!r} once, got it twice.")
        component = TEMPORAL_MODULES.get(module.name)
        if component is NonLocal:
            planned[module.name] = _plan_non_local(backbone, module, num_frames_at)
            continue
        named = match_sites(backbone, module.sites) if module.sites else []
        sites = named or list(declared_sites)
        if component is TemporalShift:
            planned[module.name] = _plan_shift(backbone, module, sites, bool(named), num_frames_at)
        else:
            planned[module.name] = _plan_registered(
                backbone, module, component, sites, bool(named), num_frames_at
            )
        if not planned[module.name]:
            raise ValueError(
                f"{module.name} needs sites that see whole frames, got windows at all {len(sites)} sites of "
                f"{type(backbone).__name__}: name other sites (TSM.SITES), or use the backbone with TSN."
            )
    return planned


def _plan_shift(
    backbone: nn.Module,
    module: TemporalModuleOptions,
    sites: Sequence[str],
    are_named: bool,
    num_frames_at: Callable[[str], int],
) -> list[Wrapper]:
    options = dict(module.options)
    tokens = options.pop("tokens", "all")
    num_tokens = _num_class_tokens(backbone) if tokens == "class" else None
    if tokens not in ("all", "class"):
        raise ValueError(f"tokens must be 'all' or 'class', got {tokens!r}.")
    return [
        (
            site,
            bind_arguments(
                TemporalShift,
                f"temporal_module {module.name!r}",
                num_segments=num_frames_at(site),
                channel_axis=features.channel_axis,
                num_tokens=num_tokens,
                **options,
            ),
        )
        for site, features in site_features(backbone, sites, are_named=are_named).items()
    ]


def _num_class_tokens(backbone: nn.Module) -> int:
    trunk = getattr(backbone, "trunk", backbone)
    # timm counts class and register tokens; torchvision's ViT has one class token.
    num_tokens = getattr(trunk, "num_prefix_tokens", int(hasattr(trunk, "class_token")))
    if not num_tokens:
        raise ValueError(
            f"tokens must be 'all' for {type(backbone).__name__}, which has no class token, got 'class'."
        )
    return int(num_tokens)


def _plan_non_local(
    backbone: nn.Module, module: TemporalModuleOptions, num_frames_at: Callable[[str], int]
) -> list[Wrapper]:
    options = module.non_local()
    sites = match_sites(backbone, module.sites) if module.sites else options.sites
    wrappers: list[Wrapper] = []
    for site, num_channels in find_non_local_sites(backbone, sites).items():
        block = NonLocal(
            num_channels, kind=options.kind, use_scale=options.use_scale, sub_sample=options.sub_sample
        )
        wrappers.append((site, partial(NonLocalAfter, non_local=block, num_segments=num_frames_at(site))))
    return wrappers


def _plan_registered(
    backbone: nn.Module,
    module: TemporalModuleOptions,
    component: Callable[..., Any],
    sites: Sequence[str],
    are_named: bool,
    num_frames_at: Callable[[str], int],
) -> list[Wrapper]:
    is_after = getattr(component, "position", "before") == "after"
    wrappers: list[Wrapper] = []
    for site, features in probe_sites(backbone, sites, outputs=is_after).items():
        if features.fault and are_named:
            raise ValueError(f"The site {site!r} cannot take {module.name!r}: {features.fault}.")
        if features.fault:
            continue
        num_frames = num_frames_at(site)
        create = bind_arguments(
            component,
            f"temporal_module {module.name!r}",
            features.num_channels,
            num_segments=num_frames,
            **module.options,
        )
        wrapper = partial(
            WithTemporalModule,
            temporal=create(),
            name=module.name,
            num_segments=num_frames,
            channel_axis=features.channel_axis,
            is_after=is_after,
        )
        wrappers.append((site, wrapper))
    return wrappers
