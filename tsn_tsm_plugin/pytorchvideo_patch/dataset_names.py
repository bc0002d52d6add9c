"""extend_make_clip_sampler, extend_select_video_class, extend_dataset: names in PyTorchVideo's datasets."""

import functools
from collections.abc import Callable
from typing import Any

from tsn_tsm_plugin.errors import UnknownHostNameError
from tsn_tsm_plugin.registry import DECODERS, SAMPLERS, load_target, nearest_or_known

WHOLE_VIDEO = "whole_video"
EXACT_DECODER = "exact"

SAMPLER_ALIASES: dict[str, tuple[str, dict[str, Any]]] = {
    "uniform_segments": ("uniform", {}),
    "twice_sample": ("uniform", {"num_views": 2}),
}
"""Names of ``make_clip_sampler`` and their registered samplers and options.

``"uniform"`` is PyTorchVideo's sampler, which cuts a video into clips of some seconds.
"""

_HOST_SAMPLERS = ("uniform", "random", "constant_clips_per_video", "random_multi")
_BRIDGE = "tsn_tsm_plugin.data.pytorchvideo_bridge"


def sampler_names() -> list[str]:
    """List the names that ``make_clip_sampler`` accepts in addition to PyTorchVideo's."""
    return sorted({WHOLE_VIDEO, *SAMPLER_ALIASES, *SAMPLERS.names()} - set(_HOST_SAMPLERS))


def extend_make_clip_sampler(is_active: Callable[[], bool], host: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``make_clip_sampler`` extended with the names of `sampler_names`, which also accept keywords."""

    @functools.wraps(host)
    def make_clip_sampler(sampling_type: str, *args: Any, **keywords: Any) -> Any:
        is_ours = is_active() and sampling_type in sampler_names()
        if not is_ours:
            try:
                return host(sampling_type, *args, **keywords)
            except NotImplementedError as error:
                if not is_active():
                    raise
                hint = nearest_or_known(sampling_type, [*_HOST_SAMPLERS, *sampler_names()])
                raise UnknownHostNameError(f"{error}; {hint}.") from None
        if sampling_type == WHOLE_VIDEO:
            return load_target(f"{_BRIDGE}:WholeVideoSampler")(*args, **keywords)
        name, options = SAMPLER_ALIASES.get(sampling_type, (sampling_type, {}))
        return load_target(f"{_BRIDGE}:SegmentClipSampler").named(name, *args, **{**options, **keywords})

    return make_clip_sampler


def extend_select_video_class(is_active: Callable[[], bool], host: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``select_video_class`` with ``"exact"`` and every registered decoder."""

    @functools.wraps(host)
    def select_video_class(decoder: str) -> Any:
        try:
            return host(decoder)
        except (ValueError, NotImplementedError):
            if not is_active() or decoder not in (EXACT_DECODER, *DECODERS.names()):
                raise
        return functools.partial(
            load_target(f"{_BRIDGE}:ExactVideo"), decoder="auto" if decoder == EXACT_DECODER else str(decoder)
        )

    return select_video_class


def extend_dataset(is_active: Callable[[], bool], host: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``LabeledVideoDataset.__init__`` with this plugin's samplers and decoders, in any worker."""

    @functools.wraps(host)
    def initialize(dataset: Any, *args: Any, **keywords: Any) -> None:
        host(dataset, *args, **keywords)
        if is_active():
            load_target(f"{_BRIDGE}:prepare_dataset")(dataset)

    return initialize
