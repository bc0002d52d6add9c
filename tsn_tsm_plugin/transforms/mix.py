"""MixUp, CutMix, RandomMix, MixCollate: mixing of clips and labels in batches of normalised clips.

Every clip is mixed with a partner from a random permutation of the batch; labels become class probabilities.

Axes: B clips, C channels, T frames, H rows, W columns, K classes. Sources: Zhang et al., "mixup", ICLR 2018,
arXiv:1710.09412; Yun et al., "CutMix", ICCV 2019, arXiv:1905.04899, section 3.1. The arithmetic follows
MMAction2's ``MixupBlending`` and ``CutmixBlending``. RandomMix follows timm's ``Mixup`` and SlowFast's
``MIXUP``.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import default_collate
from torchvision.transforms import v2

from tsn_tsm_plugin.registry import BATCH_TRANSFORMS

Box = tuple[int, int, int, int]


class Blend(NamedTuple):
    """Parameters of mixing a clip with its partner.

    Attributes:
        share: Weight of the clip's own label, in [0, 1].
        box: If given, the pixels ``(top, left, bottom, right)``, ends excluded, replaced by the partner's.
            Otherwise every pixel is the weighted mean of both.
    """

    share: float
    box: Box | None = None


class BatchMix(v2.Transform):
    """Base of the batch transforms: partners, labels, and one blend per batch or per clip.

    Args:
        num_classes: Number of classes K.
        label_smoothing: Share of a label that is spread over all classes, in [0, 1).
        per_sample: Draw a blend for each clip instead of one for the batch.
    """

    def __init__(self, num_classes: int, *, label_smoothing: float, per_sample: bool) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}.")
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.per_sample = per_sample

    def draw(self, height: int, width: int, generator: torch.Generator | None = None) -> Blend:
        """Draw a blend for frames of ``height`` x ``width`` pixels."""
        raise NotImplementedError

    def forward(
        self, video: Tensor, labels: Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return a mixed copy of a batch. Batches of any size work: a clip may be its own partner.

        Args:
            video: Float (B, C, T, H, W), normalised.
            labels: Classes, int64 (B,), or class probabilities, float (B, K).
            generator: Source of randomness, on the CPU; ``None`` is torch's global one.

        Returns:
            The mixed video, and float32 labels (B, K) whose rows sum to 1 if the given rows do.

        Raises:
            TypeError: If the video is not of a floating type.
            ValueError: If the labels do not fit the video or the number of classes.
        """
        if not video.is_floating_point():
            raise TypeError(f"video must be float, got {video.dtype}. Mix after Normalize, on the device.")
        shares_BK = self._shares(labels, len(video))
        height, width = video.shape[-2:]
        count = len(video) if self.per_sample else 1
        blends = [self.draw(height, width, generator) for _ in range(count)]
        partner = torch.randperm(len(video), generator=generator).to(video.device)
        if all(blend.share == 1.0 for blend in blends):
            return video, shares_BK
        own = torch.tensor([blend.share for blend in blends]).view(-1, 1).to(video.device)
        return _mix_pixels(video, partner, blends), own * shares_BK + (1.0 - own) * shares_BK[partner]

    def _shares(self, labels: Tensor, batch_size: int) -> Tensor:
        """Return smoothed shares, float32 (B, K)."""
        num_classes = self.num_classes
        if labels.is_floating_point() and labels.shape == (batch_size, num_classes):
            shares_BK = labels.float()
        elif labels.dtype == torch.int64 and labels.shape == (batch_size,):
            # Check values on CPUs only: on GPUs the check would synchronise, and one_hot asserts the range.
            if labels.device.type == "cpu" and not ((labels >= 0) & (labels < num_classes)).all():
                raise ValueError(f"labels must be in [0, num_classes={num_classes}), got {labels.tolist()}.")
            shares_BK = F.one_hot(labels, num_classes).float()
        else:
            raise ValueError(
                f"labels must be int64 ({batch_size},) or float ({batch_size}, {num_classes}), got "
                f"{labels.dtype} {tuple(labels.shape)}."
            )
        smoothing = self.label_smoothing
        return shares_BK * (1.0 - smoothing) + smoothing / num_classes if smoothing else shares_BK


class _BetaMix(BatchMix):
    """Base of mixing by a weight drawn from Beta(alpha, alpha), with PyTorchVideo's order of arguments."""

    def __init__(
        self,
        alpha: float = 0.2,
        label_smoothing: float = 0.0,
        num_classes: int = 0,
        *,
        per_sample: bool = False,
    ) -> None:
        super().__init__(num_classes, label_smoothing=label_smoothing, per_sample=per_sample)
        if not 0.0 < alpha < math.inf:
            raise ValueError(f"alpha must be positive, got {alpha}.")
        self.alpha = alpha


class MixUp(_BetaMix):
    """Average each clip with its partner, with a weight drawn from Beta(alpha, alpha).

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> video = torch.rand(4, 3, 8, 56, 56)
        >>> mixed, shares = MixUp(0.2, num_classes=2)(video, torch.tensor([0, 1, 0, 1]), generator=generator)
        >>> mixed.shape, shares.sum(1).tolist()
        (torch.Size([4, 3, 8, 56, 56]), [1.0, 1.0, 1.0, 1.0])

    Args:
        alpha: Positive; small values leave most batches nearly unmixed, 1 draws the weight uniformly.
        label_smoothing: Share of a label that is spread over all classes, in [0, 1).
        num_classes: Number of classes K; required. The order of arguments is PyTorchVideo's.
        per_sample: Draw a weight for each clip instead of one for the batch.
    """

    def draw(self, height: int, width: int, generator: torch.Generator | None = None) -> Blend:
        """Draw the weight of a clip; the size of its frames does not matter."""
        return Blend(_draw_beta(self.alpha, generator))


class CutMix(_BetaMix):
    """Paste a box of the partner into each clip, at the same position in all frames.

    With lambda drawn from Beta(alpha, alpha) the box covers 1 - lambda of the frame. The centre is uniform
    over the pixels and the box is clipped to the frame; the label counts the remaining pixels.

    Example:
        >>> black, white = torch.zeros(3, 8, 50, 50), torch.ones(3, 8, 50, 50)
        >>> generator = torch.Generator().manual_seed(3)
        >>> mixed, shares = CutMix(1.0, num_classes=2)(
        ...     torch.stack([black, white]), torch.tensor([0, 1]), generator=generator
        ... )
        >>> torch.allclose(mixed[0].mean(), shares[0, 1])  # the label counts the pixels of the box
        True

    Args:
        alpha: Positive; 1 draws the area uniformly.
        label_smoothing: Share of a label that is spread over all classes, in [0, 1).
        num_classes: Number of classes K; required. The order of arguments is PyTorchVideo's.
        per_sample: Draw a box for each clip instead of one for the batch.
    """

    def draw(self, height: int, width: int, generator: torch.Generator | None = None) -> Blend:
        """Draw a box and the share of the frame that it leaves."""
        side = math.sqrt(1.0 - _draw_beta(self.alpha, generator))
        box_width, box_height = int(width * side), int(height * side)
        center_x = int(torch.randint(width, (), generator=generator))
        center_y = int(torch.randint(height, (), generator=generator))
        # An odd side loses a pixel, as in the reference.
        left, right = max(center_x - box_width // 2, 0), min(center_x + box_width // 2, width)
        top, bottom = max(center_y - box_height // 2, 0), min(center_y + box_height // 2, height)
        area = (bottom - top) * (right - left)
        return Blend(1.0 - area / (height * width), (top, left, bottom, right))


class RandomMix(BatchMix):
    """Choose MixUp, CutMix or neither, for each batch or each clip.

    Example:
        >>> mix = RandomMix(num_classes=174, mixup_alpha=0.8, cutmix_alpha=1.0, switch_prob=0.5)
        >>> video, shares = mix(torch.rand(2, 3, 8, 56, 56), torch.tensor([3, 5]))
        >>> shares.shape
        torch.Size([2, 174])

    Args:
        switch_prob: Probability of CutMix if both may be chosen, in [0, 1]; PyTorchVideo's ``cutmix_prob``.
        mixup_alpha: ``alpha`` of MixUp; 0 disables MixUp.
        cutmix_alpha: ``alpha`` of CutMix; 0 disables CutMix.
        label_smoothing: Share of a label that is spread over all classes, in [0, 1); applied to unmixed clips
            too.
        num_classes: Number of classes K; required. The order of arguments is ``MixVideo``'s.
        prob: Probability of mixing at all, in [0, 1].
        per_sample: Choose and draw for each clip instead of once for the batch.

    Raises:
        ValueError: If both alphas are 0, or a number is out of its range.
    """

    def __init__(
        self,
        switch_prob: float = 0.5,
        mixup_alpha: float = 0.8,
        cutmix_alpha: float = 1.0,
        label_smoothing: float = 0.0,
        num_classes: int = 0,
        *,
        prob: float = 1.0,
        per_sample: bool = False,
    ) -> None:
        super().__init__(num_classes, label_smoothing=label_smoothing, per_sample=per_sample)
        for name, value in (("prob", prob), ("switch_prob", switch_prob)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {value}.")
        if not (mixup_alpha or cutmix_alpha):
            raise ValueError("mixup_alpha or cutmix_alpha must be positive, got 0 for both.")
        self.mixup = MixUp(mixup_alpha, num_classes=num_classes) if mixup_alpha else None
        self.cutmix = CutMix(cutmix_alpha, num_classes=num_classes) if cutmix_alpha else None
        self.prob = prob
        self.switch_prob = switch_prob

    def draw(self, height: int, width: int, generator: torch.Generator | None = None) -> Blend:
        """Draw whether to mix, how, and by how much."""
        is_mixed, is_cut = torch.rand(2, generator=generator) < torch.tensor([self.prob, self.switch_prob])
        if not is_mixed:
            return Blend(1.0)
        mix = self.cutmix if self.mixup is None or (self.cutmix is not None and is_cut) else self.mixup
        assert mix is not None, "one of the two was asked for"
        return mix.draw(height, width, generator)


class MixCollate:
    """Collate clip dictionaries, then mix their videos and labels.

    Example:
        >>> import torch
        >>> collate = MixCollate("mixup", num_classes=10, alpha=0.8)
        >>> batch = collate([{"video": torch.rand(3, 4, 8, 8), "label": label} for label in (1, 7)])
        >>> batch["video"].shape, batch["label"].shape
        (torch.Size([2, 3, 4, 8, 8]), torch.Size([2, 10]))

    Args:
        mix: The batch transform: a registered name such as ``"mixup"``, or a function of (video, labels)
            such as PyTorchVideo's ``MixVideo``.
        **options: Options of the registered batch transform.
    """

    def __init__(self, mix: str | Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], **options: Any) -> None:
        self.mix = BATCH_TRANSFORMS.get(mix)(**options) if isinstance(mix, str) else mix

    def __call__(self, clips: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch: ``video`` float (B, C, T, H, W), ``label`` float (B, K), the rest collated.

        Args:
            clips: Clip dictionaries with ``video``, float and normalised, and ``label``.
        """
        batch: dict[str, Any] = default_collate(list(clips))
        batch["video"], batch["label"] = self.mix(batch["video"], batch["label"])
        return batch


def _draw_beta(alpha: float, generator: torch.Generator | None) -> float:
    """Draw from Beta(alpha, alpha); torch.distributions, which uses this function, takes no generator."""
    concentration = torch.full((2,), alpha, dtype=torch.float64)
    return float(torch._sample_dirichlet(concentration, generator)[0])


def _mix_pixels(video: Tensor, partner: Tensor, blends: list[Blend]) -> Tensor:
    """Return a new tensor with the memory order of the video; a single blend applies to all clips."""
    mixed = video.clone()
    rows = [slice(i, i + 1) for i in range(len(blends))] if len(blends) > 1 else [slice(None)]
    for row, (share, box) in zip(rows, blends, strict=True):
        if box is not None:
            top, left, bottom, right = box
            mixed[row, ..., top:bottom, left:right] = video[..., top:bottom, left:right][partner[row]]
        elif share < 1.0:
            mixed[row].mul_(share).add_(video[partner[row]], alpha=1.0 - share)
    return mixed
