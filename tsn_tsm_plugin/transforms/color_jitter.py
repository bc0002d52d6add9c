"""ColorJitter: random brightness, contrast, saturation and hue; one draw for all frames of a clip."""

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from tsn_tsm_plugin.transforms.augment_ops import FrameOperation, RandomOperations

_ADJUST: dict[str, FrameOperation] = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
}


class ColorJitter(RandomOperations):
    """Change the four properties in random order, with the distributions of torchvision's ColorJitter.

    Args:
        brightness: Factors are uniform in [1 - brightness, 1 + brightness], not below 0. 0 changes nothing.
        contrast: The same for the contrast, about each frame's mean grey.
        saturation: The same for the saturation.
        hue: Shift, uniform in [-hue, hue] turns of the colour circle, at most 0.5.
    """

    def __init__(
        self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
    ) -> None:
        super().__init__()
        strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
        for name, strength in strengths.items():
            if not strength >= 0.0:
                raise ValueError(f"{name} must be at least 0, got {strength}.")
        if hue > 0.5:
            raise ValueError(f"hue must be at most 0.5, half of the colour circle, got {hue}.")
        self.strengths = {name: strength for name, strength in strengths.items() if strength > 0.0}

    def draw(self, generator: torch.Generator | None = None) -> list[tuple[str, float]]:
        """Draw the changes and their strengths, in order of application."""
        names = list(self.strengths)
        order = torch.randperm(len(names), generator=generator).tolist()
        draws = (2.0 * torch.rand(len(names), generator=generator) - 1.0).tolist()
        return [(names[index], self._factor(names[index], draws[index])) for index in order]

    def apply_operation(self, frames: Tensor, name: str, argument: float) -> Tensor:
        """Apply one change to frames."""
        return _ADJUST[name](frames, argument)

    def extra_repr(self) -> str:
        """Name the settings in the module's repr."""
        return ", ".join(f"{name}={strength}" for name, strength in self.strengths.items())

    def _factor(self, name: str, draw: float) -> float:
        """Map a draw from [-1, 1] to a factor; as in torchvision, the factors' interval is cut at 0."""
        strength = self.strengths[name]
        if name == "hue":
            return draw * strength
        low = max(0.0, 1.0 - strength)
        return low + (1.0 + strength - low) * (draw + 1.0) / 2.0
