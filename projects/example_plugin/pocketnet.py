"""pocketnet, attention_head, SteadySampler: a backbone, a head and a sampler from another package.

Axes: B videos, N images, C channels, T frames, H rows, W columns, K classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

WIDTHS = (32, 64, 128)


class Block(nn.Module):
    """Two convolutions and a shortcut that halve H and W."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim_in, dim_out, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(dim_out)
        self.conv2 = nn.Conv2d(dim_out, dim_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(dim_out)
        self.shortcut = nn.Conv2d(dim_in, dim_out, 1, stride=2, bias=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map (N, dim_in, H, W) to (N, dim_out, H / 2, W / 2)."""
        residual_NCHW = self.norm2(self.conv2(self.norm1(self.conv1(x_NCHW)).relu()))
        return (residual_NCHW + self.shortcut(x_NCHW)).relu()


class PocketNet(nn.Sequential):
    """Backbone: maps images (N, 3, H, W) to features (N, num_features, H / 16, W / 16)."""

    num_features = WIDTHS[-1]

    def __init__(self) -> None:
        pairs = zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False)
        stem = nn.Conv2d(3, WIDTHS[0], 3, stride=2, padding=1)
        super().__init__(stem, nn.ReLU(), *(Block(dim_in, dim_out) for dim_in, dim_out in pairs))

    def temporal_shift_sites(self, shift_place: str) -> list[str]:
        """Name the submodules whose input TSM shifts: residual branches (``"blockres"``) or blocks."""
        if shift_place not in ("blockres", "block"):
            raise ValueError(f"shift_place must be 'blockres' or 'block', got {shift_place!r}.")
        suffix = ".conv1" if shift_place == "blockres" else ""
        return [f"{name}{suffix}" for name, module in self.named_children() if isinstance(module, Block)]


def pocketnet(*, weights: str = "") -> PocketNet:
    """Create the backbone with weights from a file, or random weights if ``weights`` is empty."""
    model = PocketNet()
    if weights:
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model


class AttentionHead(nn.Module):
    """Head: scores every frame, and averages the scores with weights that depend on the frames."""

    def __init__(self, in_features: int, num_classes: int, dropout_rate: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout_rate)
        self.attention = nn.Linear(in_features, 1)
        self.fc = nn.Linear(in_features, num_classes)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Map features (B, C, T, H, W) to scores (B, K)."""
        features_BTC = self.dropout(x_BCTHW.mean((3, 4)).transpose(1, 2))
        return (self.attention(features_BTC).softmax(1) * self.fc(features_BTC)).sum(1)


def attention_head(
    *, in_features: int, out_features: int, dropout_rate: float = 0.5, **slot: object
) -> AttentionHead:
    """Create the head with the keywords of ``create_resnet(head=)``; pooling keywords are ignored."""
    return AttentionHead(in_features, out_features, dropout_rate)


@dataclass(frozen=True)
class SteadySampler:
    """Sampler: frames at a constant interval over the whole video, which preserves the speed of motion.

    In training the first frame is random within the first interval; in testing the views divide it evenly.
    """

    num_segments: int
    mode: str
    num_views: int = 1

    def __call__(self, num_frames: int, generator: torch.Generator | None = None) -> Tensor:
        """Return 0-based indices, (num_segments,) in training and (num_views * num_segments,) in testing."""
        if self.mode == "train":
            phases = torch.rand(1, generator=generator)
        else:
            phases = (torch.arange(self.num_views) + 0.5) / self.num_views
        steps = torch.arange(self.num_segments) + phases[:, None]
        return (steps * num_frames / self.num_segments).long().clamp(max=num_frames - 1).flatten()
