"""mirror, RandomHorizontalFlip: horizontal flips of clips, with the label of the mirrored class."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torchvision.transforms import v2

Label = int | tuple[int, ...]


def mirror(video: Tensor, *, is_flow: bool = False) -> Tensor:
    """Mirror (C, T, H, W) left to right; in optical flow, motion to the right becomes motion to the left.

    Example:
        >>> flow = torch.tensor([[130, 128], [7, 9]], dtype=torch.uint8).reshape(2, 1, 1, 2)
        >>> mirror(flow, is_flow=True).reshape(2, 2).tolist()
        [[127, 125], [9, 7]]

    Args:
        video: uint8 frames.
        is_flow: Whether channels are the x and y of flow in turn; the opposite of x is 255 - x.
    """
    video = video.flip(-1)
    if is_flow:
        video[0::2] = 255 - video[0::2]
    return video


class RandomHorizontalFlip(v2.Transform):
    """Mirror a clip left to right, and swap labels that a mirror turns into each other.

    Without the swap, "pushing from left to right" is trained on clips that show the opposite.

    Args:
        p: Probability of mirroring, in [0, 1].
        label_pairs: Pairs of labels that are each other's mirror image.
        is_flow: See `mirror`.
    """

    def __init__(
        self, p: float = 0.5, *, label_pairs: Iterable[tuple[int, int]] = (), is_flow: bool = False
    ) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p must be in [0, 1], got {p}.")
        self.p = p
        self.is_flow = is_flow
        self.label_pairs = tuple((int(a), int(b)) for a, b in label_pairs)
        self._mirrored = dict(self.label_pairs) | {b: a for a, b in self.label_pairs}

    def forward(
        self, video: Tensor, label: Label | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor | tuple[Tensor, Label]:
        """Mirror (C, T, H, W) with probability ``p``.

        Args:
            video: Frames of any dtype.
            label: Class of the clip, or a tuple of its classes; required if ``label_pairs`` are set.
            generator: Source of randomness; ``None`` is torch's global one.

        Returns:
            The video, or ``(video, label)`` if a label was given.

        Raises:
            ValueError: If ``label_pairs`` are set and no label is given.
        """
        if label is None and self.label_pairs:
            raise ValueError("RandomHorizontalFlip with label_pairs needs the clip's label, got none.")
        if float(torch.rand((), generator=generator)) < self.p:
            video = mirror(video, is_flow=self.is_flow)
            label = label if label is None else self._mirror(label)
        return video if label is None else (video, label)

    def _mirror(self, label: Label) -> Label:
        if isinstance(label, tuple):
            return tuple(sorted(self._mirrored.get(one, one) for one in label))
        return self._mirrored.get(label, label)
