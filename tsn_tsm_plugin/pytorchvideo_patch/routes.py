"""Route and routes_to: calls of PyTorchVideo that accept the name of a component."""

from typing import NamedTuple

from tsn_tsm_plugin.pytorchvideo_patch.builder_slots import BUILDERS
from tsn_tsm_plugin.pytorchvideo_patch.dataset_names import SAMPLER_ALIASES, sampler_names
from tsn_tsm_plugin.pytorchvideo_patch.hub_models import HUB_MODELS
from tsn_tsm_plugin.registry import ComponentEntry

_HOST_DECODERS = ("pyav", "torchvision", "decord")


class Route(NamedTuple):
    """A call that accepts a component's name.

    Attributes:
        builder: Function or class of PyTorchVideo, or this plugin's ``MixCollate`` for its data loaders.
        keyword: Argument; empty for a positional argument, or if the function has the component's name.
        name: Value of the argument.
    """

    builder: str
    keyword: str
    name: str

    def __str__(self) -> str:
        if self.builder.startswith("hub.") and not self.keyword:
            return f"{self.builder}()"
        return f"{self.builder}({self.keyword}{'=' if self.keyword else ''}{self.name!r})"


def routes_to(entry: ComponentEntry) -> list[Route]:
    """List the routes to a component; empty for kinds that only recipes use."""
    name = entry.name
    if entry.kind == "backbone":
        hub = [
            Route(f"hub.{model}", "", name) for model, (_, backbone) in HUB_MODELS.items() if backbone == name
        ]
        return [*hub, *(Route(f"hub.{method}", "backbone", name) for method in ("tsn", "tsm"))]
    if entry.kind == "head":
        public = [builder for builder in BUILDERS if not builder.startswith("_")]
        takers = [builder for builder in public if BUILDERS[builder].head in ("slot", "replace")]
        return [Route(builder, "head", name) for builder in (*takers, "hub.slow_r50", "hub.slowfast_r50")]
    if entry.kind == "bottleneck":
        return [
            Route(builder, what.bottleneck, name)
            for builder, what in BUILDERS.items()
            if not what.refused and not builder.startswith("_")
        ] + [Route(builder, "bottleneck", name) for builder in ("hub.slow_r50", "hub.slowfast_r50")]
    if entry.kind == "sampler":
        aliases = [alias for alias, (sampler, _) in SAMPLER_ALIASES.items() if sampler == name]
        names = [*aliases, *([name] if name in sampler_names() else [])]
        return [Route("make_clip_sampler", "", one) for one in names]
    if entry.kind == "transform":
        return [Route("create_video_transform", "aug_type", name)]
    if entry.kind == "batch_transform":
        return [Route("MixCollate", "", name)]
    if entry.kind == "decoder" and name not in _HOST_DECODERS:
        return [
            Route(f"{taker}", "decoder", name) for taker in ("LabeledVideoDataset", "EncodedVideo.from_path")
        ]
    if entry.kind == "decoder":
        return [Route("LabeledVideoDataset", "decoder", name)]
    return []
