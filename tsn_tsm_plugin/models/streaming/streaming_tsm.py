"""StreamingTSM, StreamingStep: the online TSM, which maps each frame to scores and keeps a small state.

Axes: B streams, C channels, H rows, W columns, K classes.
Source: Lin, Gan, Han, "TSM", ICCV 2019, arXiv:1811.08383, section 4.3.
"""

import copy
from collections import OrderedDict

import torch
from torch import Tensor, nn

from tsn_tsm_plugin.layers.temporal_shift import TemporalShift
from tsn_tsm_plugin.models.backbones.site_features import dry_run
from tsn_tsm_plugin.models.heads import TSMHead
from tsn_tsm_plugin.models.recognizer import TSM
from tsn_tsm_plugin.models.streaming.smoothing import Hysteresis, MeanOfLastFrames
from tsn_tsm_plugin.models.streaming.streaming_shift import PerStream, StreamingShift


class StreamingStep(nn.Module):
    """One step of an online TSM as a function: frame and state in, scores and new state out.

    The module holds no state between calls, as exporters require. Use :class:`StreamingTSM` otherwise.

    Args:
        model: A causal TSM; copied, not modified.

    Attributes:
        state_names: Names of the state tensors, in the order of ``forward``: the backbone's shifted sites.

    Raises:
        TypeError: If ``model`` is not a TSM.
        ValueError: If the TSM needs frames that a stream has not seen.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        check_streamable(model)
        copied = copy.deepcopy(model).eval()
        self.backbone: nn.Module = copied.get_submodule("backbone")
        self.head: nn.Module = copied.get_submodule("head")
        self.state_names: list[str] = []
        for name, module in list(self.backbone.named_modules()):
            if isinstance(module, TemporalShift):
                streaming = StreamingShift(
                    module.net,
                    shift_div=module.shift_div,
                    channel_axis=module.channel_axis,
                    num_tokens=module.num_tokens,
                )
                self.backbone.set_submodule(name, streaming)
                self.state_names.append(name)

    def shifts(self) -> list[StreamingShift]:
        """Return the shifted sites, in the order of :attr:`state_names`."""
        modules = [self.backbone.get_submodule(name) for name in self.state_names]
        assert all(isinstance(module, StreamingShift) for module in modules)
        return modules  # type: ignore[return-value]

    def score(self, frame_BCHW: Tensor) -> Tensor:
        """Map frames (B, 3, H, W) to scores (B, K), reading and changing the state of the shifts."""
        features = self.backbone(frame_BCHW.contiguous(memory_format=torch.channels_last))
        return self.head(features.unsqueeze(2))

    def forward(self, frame_BCHW: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Map a normalised frame of each stream and the state to ``(scores (B, K), *new state)``.

        Args:
            frame_BCHW: RGB, normalised as in training.
            *state: One (B, F, h, w), (B, h, w, F) or (B, L, F) per site, see :meth:`state_shapes`; omitted
                before the first frame, which is the same as zeros.
        """
        shifts = self.shifts()
        if len(state) not in (0, len(shifts)):
            raise ValueError(f"state must be {len(shifts)} tensors ({self.state_names}), got {len(state)}.")
        try:
            for shift, previous in zip(shifts, state, strict=False):
                shift.previous = previous
            scores_BK = self.score(frame_BCHW)
            return (scores_BK, *(shift.previous for shift in shifts))  # type: ignore[arg-type]
        finally:
            _reset(self)

    def state_shapes(self, height: int, width: int) -> OrderedDict[str, tuple[int, ...]]:
        """Return the shape of one stream's state for frames of ``height`` x ``width``, by name.

        A shape is (F, h, w), (h, w, F) or (L, F). F is one ``shift_div``-th of the channels at the site; h
        and w are the size of the features there; L is the number of tokens.
        """
        _, *state = dry_run(self, (1, 3, height, width), prepare=_reset)
        shapes = [tuple(tensor.shape[1:]) for tensor in state]
        return OrderedDict(zip(self.state_names, shapes, strict=True))

    def train(self, mode: bool = True) -> "StreamingStep":
        """Stay in eval mode whatever ``mode`` is: batch statistics of a single frame are meaningless."""
        return super().train(False)


def _reset(network: nn.Module, mask_B: Tensor | None = None) -> None:
    for module in network.modules():
        if isinstance(module, PerStream):
            module.reset(mask_B)


class StreamingTSM(nn.Module):
    """A causal TSM on endless streams of frames.

    Each call returns the scores of one frame, before the average over the frames of a clip. The mean of the
    scores of T frames after a reset equals ``model``'s scores for the clip of these frames.
    ``average_frames=T`` returns the mean over the last T frames at every frame.

    Several streams may run as a batch; each stream keeps its index. The state is one fold of features at each
    shifted site, see :attr:`state`. The state is part of ``state_dict()`` and follows ``.to()``. The first
    frame fixes batch and frame size until :meth:`reset`.

    ::

        stream = StreamingTSM(create_tsm(backbone="mobilenet_v2", causal=True), average_frames=12)
        for frame in frames:  # (1, 3, 224, 224), normalised
            scores = stream(frame)

    Example:
        >>> import torch
        >>> from tsn_tsm_plugin import create_tsm
        >>> model = create_tsm(backbone="mobilenet_v2", num_classes=27, num_segments=4, causal=True).eval()
        >>> frames = torch.rand(4, 1, 3, 64, 64)  # four frames of one stream
        >>> stream = StreamingTSM(model)
        >>> scores = torch.stack([stream(frame) for frame in frames])
        >>> with torch.no_grad():
        ...     torch.allclose(scores.mean(0), model(frames.permute(1, 2, 0, 3, 4)), rtol=1e-3, atol=0)
        True
        >>> {name: tuple(kept.shape) for name, kept in list(stream.state.items())[:2]}
        {'features.3.conv.0': (1, 3, 16, 16), 'features.5.conv.0': (1, 4, 8, 8)}
        >>> stream.reset(torch.tensor([True]))  # the next frame of that stream is a first frame

    Args:
        model: A causal TSM, from ``create_tsm(causal=True)``; copied, not modified.
        average_frames: Number of last frames to average the scores over; 1: no average.
        min_consecutive: Number of frames in a row that a new class must lead before :attr:`label` changes.

    Attributes:
        label: (B,) int64, the class with the highest returned score, held by ``min_consecutive``;
            ``None`` before the first frame.

    Raises:
        TypeError: If ``model`` is not a TSM.
        ValueError: If the TSM needs frames that a stream has not seen: a bi-directional TSM, or a TSM with
            temporal pooling, non-local blocks or a head that sees whole clips.
    """

    label: Tensor | None

    def __init__(self, model: nn.Module, *, average_frames: int = 1, min_consecutive: int = 1) -> None:
        super().__init__()
        self.step = StreamingStep(model)
        self.average = MeanOfLastFrames(average_frames)
        self.hysteresis = Hysteresis(min_consecutive)
        self.label = None

    @torch.no_grad()
    def forward(self, frame_BCHW: Tensor) -> Tensor:
        """Map the next normalised RGB frame of each stream (B, 3, H, W) to scores (B, K).

        Raises:
            ValueError: If the shape is wrong, or differs from the previous frames.
        """
        if frame_BCHW.ndim != 4:
            raise ValueError(
                f"The input must be one frame of each stream, (B, 3, H, W), got {tuple(frame_BCHW.shape)}."
            )
        scores_BK = self.average(self.step.score(frame_BCHW))
        self.label = self.hysteresis(scores_BK)
        return scores_BK

    @property
    def state(self) -> OrderedDict[str, Tensor]:
        """The features kept for the next frame, (B, F, h, w) by site; empty before the first frame."""
        previous = zip(self.step.state_names, (shift.previous for shift in self.step.shifts()), strict=True)
        return OrderedDict((name, tensor) for name, tensor in previous if tensor is not None)

    def state_shapes(self, height: int, width: int) -> OrderedDict[str, tuple[int, ...]]:
        """Return the shape of one stream's state for frames of ``height`` x ``width``, by site."""
        return self.step.state_shapes(height, width)

    def reset(self, mask_B: Tensor | None = None) -> None:
        """Reset streams: their next frame is a first frame.

        Args:
            mask_B: bool (B,), streams to reset; ``None`` resets all and allows another batch and frame size.
        """
        _reset(self, mask_B)
        if mask_B is None:
            self.label = None


def check_streamable(model: nn.Module) -> None:
    """Refuse a model that needs frames that a stream has not seen.

    Raises:
        TypeError: If ``model`` is not a TSM.
        ValueError: If the shift is bi-directional, or another module looks ahead; the message gives its name.
    """
    if not isinstance(model, TSM):
        raise TypeError(f"model must be a TSM from create_tsm(causal=True), got {type(model).__name__}.")
    if model.temporal_pool:
        raise ValueError(
            "A stream needs TSM.TEMPORAL_POOL False: pooling takes the maximum with the next frame, which a "
            f"stream has not seen, got {model.describe()}."
        )
    if not model.causal:
        raise ValueError(
            "A stream needs a causal TSM. These weights use future frames, so they cannot run frame by "
            f"frame. Train with TSM.CAUSAL True; got {model.describe()}."
        )
    if not isinstance(model.head, TSMHead):
        raise ValueError(
            "A stream needs the head of TSM, which scores each frame separately: leave MODEL.HEAD empty, got "
            f"{model.describe()}."
        )
    looks_ahead = [
        name
        for name, module in model.backbone.named_modules()
        if hasattr(module, "num_segments") and not isinstance(module, TemporalShift)
    ]
    if looks_ahead:
        raise ValueError(
            f"A stream needs modules that see one frame at a time, got {looks_ahead}, which see whole clips: "
            f"create the TSM without them ({model.describe()})."
        )
