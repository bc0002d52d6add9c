"""sliding_windows, run_windows: scores and features of a long video per window, in constant memory.

Axes: W windows, T frames of a window, C channels or features, H rows, W columns, K classes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from tsn_tsm_plugin.data.frame_stream import iterate_frames, open_source
from tsn_tsm_plugin.inference.frame_features import frame_features
from tsn_tsm_plugin.inference.trained_model import TrainedModel
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.transforms import segment_indices

logger = get_logger(__name__)

# Windows per forward pass.
_BATCH = 4


class Window(NamedTuple):
    """Outputs of a network for the frames ``[start, stop)`` of a video.

    Attributes:
        start: First frame.
        stop: One past the last frame.
        indices: The T frames that the network read.
        logits: (K,) scores before the softmax.
        features: (T, C) features of these frames, averaged over space.
    """

    start: int
    stop: int
    indices: list[int]
    logits: Tensor
    features: Tensor


def sliding_windows(num_frames: int, *, length: int, stride: int) -> list[tuple[int, int]]:
    """Return ``[start, stop)`` of windows over ``num_frames`` frames.

    All windows are ``length`` long. The last window ends with the video, so its overlap may be larger.
    A video shorter than ``length`` is one window.

    ::

        num_frames=10, length=4, stride=4    0123 4567 6789    -> (0, 4) (4, 8) (6, 10)

    Raises:
        ValueError: If a number is below 1.
    """
    for name, value in (("num_frames", num_frames), ("length", length), ("stride", stride)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if num_frames <= length:
        return [(0, num_frames)]
    starts = list(range(0, num_frames - length + 1, stride))
    if starts[-1] + length < num_frames:
        starts.append(num_frames - length)
    return [(start, start + length) for start in starts]


def run_windows(trained: TrainedModel, path: str, windows: list[tuple[int, int]]) -> Iterator[Window]:
    """Decode a video once and yield the outputs of each window, in order.

    Only frames that a later window needs are kept in memory.

    Args:
        trained: The network. It reads the middle frame of each segment of a window.
        path: The video, a file or a folder of frames.
        windows: Result of :func:`sliding_windows`, in order of their start.
    """
    num_segments = trained.preprocessing.num_segments
    looks = [
        [start + i for i in segment_indices(stop - start, num_segments, mode="test").tolist()]
        for start, stop in windows
    ]
    prepare = trained.preprocessing.prepare_frame
    kept: dict[int, Tensor] = {}
    wanted = {index for indices in looks for index in indices}
    done = ready = 0
    with open_source(f"file:{path}", frame_names=trained.preprocessing.frame_names) as opened:
        for frame in iterate_frames(opened, lambda text: logger.warning(f"{path}: {text}")):
            if frame.index in wanted:
                kept[frame.index] = prepare(torch.from_numpy(frame.rgb))
            while ready < len(looks) and looks[ready][-1] <= frame.index:
                ready += 1
            if ready - done >= _BATCH or done < ready == len(looks):
                yield from _run(trained, windows[done:ready], looks[done:ready], kept)
                done = ready
                needed_from = looks[done][0] if done < len(looks) else frame.index + 1
                kept = {index: image for index, image in kept.items() if index >= needed_from}
            if done == len(looks):
                return
    logger.warning(f"{path}: ended early, {len(looks) - done} of {len(looks)} windows are skipped.")


@torch.inference_mode()
def _run(
    trained: TrainedModel, windows: list[tuple[int, int]], looks: list[list[int]], kept: dict[int, Tensor]
) -> Iterator[Window]:
    clips = torch.stack([torch.stack([kept[i] for i in indices], 1) for indices in looks])
    video = trained.preprocessing.normalize(clips.to(trained.device))
    features = frame_features(trained.model, video)
    logits = trained.model.get_submodule("head")(features).float().cpu()
    features_BTC = features.mean((3, 4)).transpose(1, 2).float().cpu()
    for (start, stop), indices, scores, vectors in zip(windows, looks, logits, features_BTC, strict=True):
        yield Window(start, stop, indices, scores, vectors)
