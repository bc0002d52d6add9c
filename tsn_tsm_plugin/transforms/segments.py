"""segment_indices, uniform_sampler, dense_sampler, ...: frame sampling by segments and dense windows.

Everything here is index arithmetic on 0-based frame numbers, without pixels and files.

Sources: Wang et al., "Temporal Segment Networks", ECCV 2016, section 3.1 (one frame per segment); Lin, Gan,
Han, "TSM", ICCV 2019, section 5.1 (two clips per video on Something-Something). If paper and code are
ambiguous, the arithmetic follows MMAction2's ``SampleFrames`` and ``DenseSampleFrames``, quirks included:
published numbers depend on them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

IndexSampler = Callable[[int, torch.Generator | None], Tensor]
"""Function from a number of frames to the 0-based int64 indices of the frames to read."""

_MODES = ("train", "test")


def segment_indices(
    num_frames: int,
    num_segments: int,
    *,
    mode: str,
    twice_sample: bool = False,
    keep_tail_frames: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Choose one frame of each of ``num_segments`` equal parts of a video.

    Testing takes the middle frame of each segment; ``twice_sample`` appends the first frame of each. Training
    takes a random frame of each segment of ``num_frames // num_segments`` frames. The last ``num_frames %
    num_segments`` frames are never drawn. A video of ``n`` to ``2 n - 1`` frames always gives its first
    ``n``. ``keep_tail_frames`` uses segments of fractional length instead, which reach the end. A video with
    fewer frames than segments repeats frames; in training, as in the reference, rounding may wrap around to
    frame 0 at the end.

    ::

        frames    0 1 2 3 4 5 6 7 8        num_frames=9, num_segments=3
        segments [     |     |     ]
        test        ^     ^     ^          -> 1 4 7
        twice     ^     ^     ^            -> 1 4 7, 0 3 6

    Example:
        >>> segment_indices(9, 3, mode="test").tolist()
        [1, 4, 7]
        >>> segment_indices(9, 3, mode="test", twice_sample=True).tolist()
        [1, 4, 7, 0, 3, 6]
        >>> drawn = segment_indices(9, 3, mode="train", generator=torch.Generator().manual_seed(0))
        >>> [index // 3 for index in drawn.tolist()]  # one of each segment
        [0, 1, 2]

    Args:
        num_frames: Frames of the video, at least 1.
        num_segments: Frames to choose, at least 1.
        mode: ``"train"`` draws from ``generator``, ``"test"`` is deterministic.
        twice_sample: Whether to choose a second view of ``num_segments`` frames in testing.
        keep_tail_frames: Whether training may also draw the last frames.
        generator: Source of randomness in training; ``None`` is torch's global one.

    Returns:
        int64 indices in ``[0, num_frames)``: (num_segments,), or (2 * num_segments,) with ``twice_sample``.

    Raises:
        ValueError: If a number is below 1, ``mode`` is unknown, or ``twice_sample`` is asked for in training.
    """
    _check(num_frames, num_segments, mode)
    # The reference computes in double and in this order. For 25 segments the result differs from exact
    # arithmetic by one frame at some lengths.
    length = num_frames / num_segments
    starts = torch.arange(num_segments, dtype=torch.float64) * length
    if mode == "test":
        middles = starts + length / 2.0
        chosen = torch.cat([middles, starts]) if twice_sample else middles
        return chosen.long() % num_frames
    if twice_sample:
        raise ValueError("twice_sample must be False in mode 'train': it makes a second view for testing.")
    if keep_tail_frames:
        shares = torch.rand(num_segments, dtype=torch.float64, generator=generator)
        return (starts + shares * length).long().clamp(max=num_frames - 1)
    whole = num_frames // num_segments
    if whole > 0:
        offsets = torch.randint(whole, (num_segments,), generator=generator)
        return torch.arange(num_segments) * whole + offsets
    return starts.round().long() % num_frames


def dense_indices(
    num_frames: int,
    num_segments: int,
    *,
    mode: str,
    sample_range: int = 64,
    num_positions: int = 10,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Choose frames at a fixed interval within a window of ``sample_range`` frames.

    The interval is ``sample_range // num_segments``. Frames past the end wrap around to the start; a video no
    longer than the window always starts at frame 0. In training the window's start is random, but, as in both
    references, never the last possible start.

    Example:
        >>> dense_indices(100, 4, mode="test", num_positions=2).tolist()
        [0, 16, 32, 48, 36, 52, 68, 84]

    Args:
        num_frames: Frames of the video, at least 1.
        num_segments: Frames of one window, in [1, sample_range].
        mode: ``"train"`` draws one window from ``generator``, ``"test"`` takes ``num_positions`` windows
            spread evenly over the video.
        sample_range: Width of the window, in frames.
        num_positions: Windows in testing.
        generator: Source of randomness in training; ``None`` is torch's global one.

    Returns:
        int64 indices in ``[0, num_frames)``: (num_segments,) in training, (num_positions * num_segments,) in
        testing, window after window.

    Raises:
        ValueError: If a number is out of range or ``mode`` is unknown.
    """
    _check(num_frames, num_segments, mode)
    if not num_segments <= sample_range:
        raise ValueError(f"num_segments must be in [1, sample_range={sample_range}], got {num_segments}.")
    if num_positions < 1:
        raise ValueError(f"num_positions must be at least 1, got {num_positions}.")
    last_start = max(0, num_frames - sample_range)
    if mode == "test":
        # NumPy's linspace steps by (last - first) / (count - 1) in double, then truncates.
        step = last_start / max(1, num_positions - 1)
        starts = (torch.arange(num_positions, dtype=torch.float64) * step).long()
        if num_positions > 1:
            starts[-1] = last_start
    elif last_start == 0:
        starts = torch.zeros(1, dtype=torch.long)
    else:
        starts = torch.randint(last_start, (1,), generator=generator)
    interval = sample_range // num_segments
    offsets = torch.arange(num_segments) * interval
    return ((starts[:, None] + offsets) % num_frames).flatten()


def uniform_sampler(
    num_segments: int, *, mode: str, num_views: int = 1, keep_tail_frames: bool = False
) -> IndexSampler:
    """Return a function from a video's length to its frames by `segment_indices`.

    Example:
        >>> sample = uniform_sampler(3, mode="test", num_views=2)
        >>> sample(9).tolist(), sample(30).tolist()
        ([1, 4, 7, 0, 3, 6], [5, 15, 25, 0, 10, 20])

    Args:
        num_segments: Frames of one view.
        mode: ``"train"`` or ``"test"``.
        num_views: Views in testing: 1, or 2 for twice-sampling.
        keep_tail_frames: See `segment_indices`.

    Raises:
        ValueError: If ``num_views`` is neither 1 nor 2.
    """
    if num_views not in (1, 2):
        raise ValueError(f"num_views must be 1 or 2 (twice sample) for uniform sampling, got {num_views}.")
    keywords = {"num_segments": num_segments, "mode": mode}
    keywords |= {"twice_sample": num_views == 2, "keep_tail_frames": keep_tail_frames}
    return _Sampler(segment_indices, keywords)


def dense_sampler(
    num_segments: int, *, mode: str, num_views: int = 10, sample_range: int = 64
) -> IndexSampler:
    """Return a function from a video's length to its frames by `dense_indices`.

    Example:
        >>> dense_sampler(4, mode="test", num_views=2)(100).tolist()
        [0, 16, 32, 48, 36, 52, 68, 84]

    Args:
        num_segments: Frames of one view.
        mode: ``"train"`` or ``"test"``.
        num_views: Windows in testing.
        sample_range: Width of a window, in frames.
    """
    keywords = {"num_segments": num_segments, "mode": mode}
    return _Sampler(dense_indices, {**keywords, "num_positions": num_views, "sample_range": sample_range})


@dataclass(frozen=True)
class _Sampler:
    """A function of indices with its keywords; no closure, so that spawned workers can unpickle it."""

    indices_of: Callable[..., Tensor]
    keywords: dict[str, Any]

    def __call__(self, num_frames: int, generator: torch.Generator | None = None) -> Tensor:
        return self.indices_of(num_frames, generator=generator, **self.keywords)


class SampleFrames(v2.Transform):
    """Take some frames out of a clip of all frames, for pipelines that decode a whole clip first.

    Readers by index read only the sampled frames.

    Args:
        index_sampler: A `uniform_sampler` or a `dense_sampler`.
    """

    def __init__(self, index_sampler: IndexSampler) -> None:
        super().__init__()
        self.index_sampler = index_sampler

    def forward(self, video: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Map (C, T, H, W) to (C, T', H, W), T' as the sampler decides."""
        return video[:, self.index_sampler(video.shape[1], generator)]


class TwiceSample(SampleFrames):
    """Turn a clip of all frames into two test views: segment centres, then segment starts.

    Example:
        >>> video = torch.arange(9).expand(3, 1, 1, 9).movedim(-1, 1)  # frames that hold their number
        >>> TwiceSample(3)(video)[0, :, 0, 0].tolist()
        [1, 4, 7, 0, 3, 6]

    Args:
        num_segments: Frames of one view; the result has twice as many.
    """

    def __init__(self, num_segments: int) -> None:
        super().__init__(uniform_sampler(num_segments, mode="test", num_views=2))
        self.num_segments = num_segments


class DenseViews(SampleFrames):
    """Turn a clip of all frames into the dense test views, window after window.

    Args:
        num_segments: Frames of one view; the result has ``num_views`` times as many.
        num_views: Windows, spread evenly over the clip.
        sample_range: Width of a window, in frames.
    """

    def __init__(self, num_segments: int, *, num_views: int = 10, sample_range: int = 64) -> None:
        super().__init__(
            dense_sampler(num_segments, mode="test", num_views=num_views, sample_range=sample_range)
        )
        self.num_segments = num_segments
        self.num_views = num_views


def _check(num_frames: int, num_segments: int, mode: str) -> None:
    for name, value in (("num_frames", num_frames), ("num_segments", num_segments)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if mode not in _MODES:
        raise ValueError(f"mode must be 'train' or 'test', got {mode!r}.")
