"""ClipTransform: a pipeline on the clip dictionaries of this package and of PyTorchVideo's datasets."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tsn_tsm_plugin.transforms.pixel_range import to_levels


class ClipTransform:
    """Apply modules in order to a clip dictionary's ``video``, and to its ``label`` if they take labels.

    Fits ``LabeledVideoDataset(transform=...)``, where random modules draw from torch's global generator.

    Args:
        steps: Modules from uint8 (C, T, H, W) to (C, T', H', W'). Random modules take ``generator``. Modules
            that swap mirrored classes also take ``label`` and return the pair.
    """

    def __init__(self, steps: Sequence[nn.Module]) -> None:
        self.steps = list(steps)
        self._keywords = [
            set(inspect.signature(getattr(step, "forward", step)).parameters) for step in self.steps
        ]

    def __call__(self, clip: dict[str, Any], generator: torch.Generator | None = None) -> dict[str, Any]:
        """Return a new dictionary; the input is not changed.

        Args:
            clip: ``video``, uint8 (C, T, H, W), float in 0-255 as PyTorchVideo's decoders give it, or float
                in 0-1; and usually ``label``.
            generator: Source of randomness; ``None`` is torch's global one.

        Raises:
            TypeError: If floats are in neither range, or fit both.
        """
        video, label = to_levels(clip["video"]), clip.get("label")
        for step, keywords in zip(self.steps, self._keywords, strict=True):
            random = {"generator": generator} if "generator" in keywords else {}
            if "label" in keywords and label is not None:
                video, label = step(video, label, **random)
            else:
                video = step(video, **random)
        return {**clip, "video": video} if label is None else {**clip, "video": video, "label": label}

    def __repr__(self) -> str:
        return " -> ".join(repr(step) for step in self.steps)
