"""probe_sites, dry_run: find the layout of the features at a 2D network's submodules without computing."""

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_NUM_IMAGES = 2
_SIZE = (224, 224)
# Attributes of layers that hold the number of input channels.
_WIDTHS = ("in_channels", "in_features", "num_features", "num_channels", "normalized_shape")
_CHANNELS_LAST = (nn.Linear, nn.LayerNorm)


@dataclass(frozen=True)
class SiteFeatures:
    """The features that a submodule reads or returns.

    Attributes:
        num_channels: C.
        channel_axis: 1 in (N, C, H, W), -1 in (N, H, W, C) and in tokens (N, L, C).
        fault: Why the features cannot be exchanged between frames; "" if they can.
    """

    num_channels: int
    channel_axis: int
    fault: str = ""


def probe_sites(
    backbone: nn.Module, sites: Collection[str], *, outputs: bool = False
) -> dict[str, SiteFeatures]:
    """Run a network once on shapes only, and describe the features at its submodules.

    The run uses tensors on the meta device. A network that reads values runs on its own device instead.

    Args:
        backbone: Network on (N, 3, H, W); ``backbone.input_size``, (3, H, W), is the size of the dry run.
        sites: Dotted names of submodules.
        outputs: Describe what the submodules return instead of what they read.

    Raises:
        ValueError: If the network cannot be run.
    """
    seen: dict[str, list[Any]] = {}

    def watch(copied: nn.Module) -> None:
        for site in sites:
            shapes = seen[site] = []
            module = copied.get_submodule(site)
            if outputs:
                module.register_forward_hook(lambda _, __, out, shapes=shapes: shapes.append(_shape(out)))
            else:
                module.register_forward_pre_hook(
                    lambda _, args, shapes=shapes: shapes.append(_shape(next(iter(args), None)))
                )

    size = tuple(getattr(backbone, "input_size", (_num_input_channels(backbone), *_SIZE)))
    try:
        dry_run(backbone, (_NUM_IMAGES, *size), prepare=watch)
    except Exception as error:
        reason = str(error) or f"its forward pass fails with {type(error).__name__}"
        raise ValueError(
            f"The backbone {type(backbone).__name__} must take frames of {size[1]}x{size[2]} pixels, its "
            f"input_size: {reason.rstrip('.!')}."
        ) from error
    return {site: _describe(backbone, site, shapes) for site, shapes in seen.items()}


def _num_input_channels(backbone: nn.Module) -> int:
    return next((module.in_channels for module in backbone.modules() if isinstance(module, nn.Conv2d)), 3)


def _shape(features: object) -> torch.Size | None:
    return features.shape if isinstance(features, Tensor) else None


def dry_run(
    network: nn.Module, shape: tuple[int, ...], *, prepare: Callable[[nn.Module], object] = nn.Module.eval
) -> Any:
    """Return the outputs of a network in eval mode for an input of the given shape, on the meta device.

    A copy of the network without values runs on the meta device. If the network reads values, a full copy
    runs on zeros instead.

    Args:
        network: Any module; not modified.
        shape: Shape of the input.
        prepare: Function that is called with the copy before the run.
    """
    tensors = [*network.parameters(), *network.buffers()]
    dtype = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)
    device = next((tensor.device for tensor in tensors), torch.device("cpu"))
    with torch.no_grad():
        try:
            on_meta = copy.deepcopy(network, {id(tensor): _on_meta(tensor) for tensor in tensors}).eval()
            prepare(on_meta)
            return on_meta(torch.empty(shape, dtype=dtype, device="meta"))
        except Exception:  # Networks that read values fail on the meta device in many ways.
            full = copy.deepcopy(network).eval()
            prepare(full)
            return full(torch.zeros(shape, dtype=dtype, device=device))


def _on_meta(tensor: Tensor) -> Tensor:
    on_meta = tensor.detach().to("meta")
    return nn.Parameter(on_meta, requires_grad=False) if isinstance(tensor, nn.Parameter) else on_meta


def _describe(backbone: nn.Module, site: str, shapes: Sequence[torch.Size | None]) -> SiteFeatures:
    if len(shapes) != 1:
        times = "never runs" if not shapes else f"runs {len(shapes)} times for each frame"
        return SiteFeatures(0, 1, f"it {times}")
    shape = shapes[0]
    if shape is None or len(shape) not in (3, 4):
        kind = "no single tensor" if shape is None else f"features of shape {tuple(shape)}"
        return SiteFeatures(0, 1, f"it sees {kind}")
    if shape[0] != _NUM_IMAGES:
        return SiteFeatures(0, 1, f"it sees windows, {tuple(shape)} for {_NUM_IMAGES} frames")
    axis = _channel_axis(backbone, site, shape)
    return SiteFeatures(shape[axis], axis)


def _channel_axis(backbone: nn.Module, site: str, shape: torch.Size) -> int:
    """Return 1 or -1: the axis as wide as the first layer of the module, or of the modules around it."""
    if len(shape) == 3:
        return -1
    while True:
        for layer in backbone.get_submodule(site).modules():
            width = next((getattr(layer, name) for name in _WIDTHS if hasattr(layer, name)), None)
            width = width[-1] if isinstance(width, tuple) else width
            axes = [axis for axis in (1, -1) if shape[axis] == width]
            if len(axes) == 1:
                return axes[0]
            if axes:
                return -1 if isinstance(layer, _CHANNELS_LAST) and "2d" not in type(layer).__name__ else 1
        if not site:
            return 1
        site = site.rpartition(".")[0]
