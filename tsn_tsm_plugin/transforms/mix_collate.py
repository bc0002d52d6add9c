"""MixCollate: a ``collate_fn`` that collates clips and mixes the batch."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import default_collate

from tsn_tsm_plugin.registry import BATCH_TRANSFORMS


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
