"""RandomErasing: fill random boxes with noise or grey, the same box in all frames or one per frame.

Source: Zhong et al., "Random Erasing Data Augmentation", AAAI 2020, arXiv:1708.04896, algorithm 1. Ranges and
fillings follow timm and SlowFast, which erase normalised floats; here frames are not normalised yet. Grey is
the mean colour. Noise has the mean and deviation of the data, clipped to 0-255.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from tsn_tsm_plugin.transforms.pixel_range import white_level

Box = tuple[int, int, int, int]

_MODES = ("const", "rand", "pixel")
_TRIES = 10


class RandomErasing(v2.Transform):
    """Erase boxes of random area, shape and place with some probability.

    Args:
        p: Probability of erasing in a clip (of each frame, with ``per_frame``), in [0, 1].
        area: Range of the boxes' joint share of the frame.
        min_aspect: Height over width is log-uniform in [min_aspect, 1 / min_aspect].
        mode: Filling: ``"const"``, the mean colour; ``"rand"``, one random colour per frame; ``"pixel"``,
            noise.
        max_count: 1 to this many boxes, uniformly.
        per_frame: Draw boxes for every frame separately.
        mean: Mean of each channel, in 0-255.
        std: Standard deviation of each channel, in 0-255.
    """

    def __init__(
        self,
        p: float = 0.25,
        *,
        area: tuple[float, float] = (0.02, 1 / 3),
        min_aspect: float = 0.3,
        mode: str = "pixel",
        max_count: int = 1,
        per_frame: bool = False,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
    ) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p must be in [0, 1], got {p}.")
        if not 0.0 < area[0] <= area[1] <= 1.0:
            raise ValueError(f"area must be a rising pair of numbers in (0, 1], got {area}.")
        if not 0.0 < min_aspect <= 1.0:
            raise ValueError(f"min_aspect must be in (0, 1], got {min_aspect}.")
        if mode not in _MODES:
            raise ValueError(f"mode must be one of {_MODES}, got {mode!r}.")
        if max_count < 1:
            raise ValueError(f"max_count must be at least 1, got {max_count}.")
        self.p = p
        self.area = area
        self.min_aspect = min_aspect
        self.mode = mode
        self.max_count = max_count
        self.per_frame = per_frame
        self.mean = tuple(mean)
        self.std = tuple(std)

    def draw(self, height: int, width: int, generator: torch.Generator | None = None) -> list[Box]:
        """Draw boxes ``(top, left, height, width)`` in pixels, none with probability ``1 - p``."""
        if _uniform(0.0, 1.0, generator) >= self.p:
            return []
        count = 1 + int(torch.randint(self.max_count, (), generator=generator))
        boxes = [self._draw_box(height, width, count, generator) for _ in range(count)]
        return [box for box in boxes if box is not None]

    def forward(self, video: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Map (C, T, H, W) to the same shape, dtype and range: uint8, float in 0-255 or float in 0-1.

        Raises:
            TypeError: If the pixels are in neither range, or fit both.
        """
        white = white_level(video)
        if not self.per_frame:
            return self._erase(video, white, generator)
        return torch.cat([self._erase(frame, white, generator) for frame in video.split(1, dim=1)], dim=1)

    def _erase(self, video: Tensor, white: float, generator: torch.Generator | None) -> Tensor:
        num_frames, frame_height, frame_width = video.shape[1:]
        for top, left, height, width in self.draw(frame_height, frame_width, generator):
            filling = self._filling(num_frames, height, width, generator) * (white / 255.0)
            video = F.erase(video, top, left, height, width, filling.to(video))
        return video

    def _draw_box(self, height: int, width: int, count: int, generator: torch.Generator | None) -> Box | None:
        """Return a box that fits, or None if ten draws do not fit."""
        for _ in range(_TRIES):
            area = _uniform(*self.area, generator) * height * width / count
            aspect = math.exp(_uniform(math.log(self.min_aspect), -math.log(self.min_aspect), generator))
            box_height, box_width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if box_height < height and box_width < width:
                top = int(torch.randint(height - box_height + 1, (), generator=generator))
                left = int(torch.randint(width - box_width + 1, (), generator=generator))
                return top, left, box_height, box_width
        return None

    def _filling(self, num_frames: int, height: int, width: int, generator: torch.Generator | None) -> Tensor:
        """Return whole levels of 0-255, float (C, T, height, width) or a tensor that broadcasts to this
        shape."""
        channels = len(self.mean)
        shape = {
            "const": (channels, 1, 1, 1),
            "rand": (channels, num_frames, 1, 1),
            "pixel": (channels, num_frames, height, width),
        }[self.mode]
        noise = torch.zeros(shape) if self.mode == "const" else torch.randn(shape, generator=generator)
        mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in (self.mean, self.std))
        return (mean + std * noise).round_().clamp_(0.0, 255.0)


def _uniform(low: float, high: float, generator: torch.Generator | None) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))
