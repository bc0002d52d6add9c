"""PocketNet: a residual network small enough to read, as a backbone for TSN and TSM.

Axes: N images, C channels, H rows, W columns.
"""

import torch
from torch import Tensor, nn

WIDTHS = (32, 64, 128)


class Block(nn.Module):
    """Two convolutions and a shortcut that halve H and W.

    Args:
        dim_in: Channels of the input.
        dim_out: Channels of the output.
    """

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


class PocketNet(nn.Module):
    """Maps images (N, 3, H, W) to features (N, num_features, H / 16, W / 16).

    Attributes:
        num_features: Channels of the feature map; the heads of tsn_tsm_plugin read it.
    """

    num_features = WIDTHS[-1]

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, stride=2, padding=1)
        pairs = zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False)
        self.blocks = nn.Sequential(*(Block(dim_in, dim_out) for dim_in, dim_out in pairs))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the last feature map."""
        return self.blocks(self.stem(x_NCHW).relu())

    def temporal_shift_sites(self, shift_place: str) -> list[str]:
        """Name the submodules whose input TSM shifts in time.

        Args:
            shift_place: ``"blockres"`` shifts the residual branch only, ``"block"`` the whole block.

        Raises:
            ValueError: If ``shift_place`` is neither.
        """
        if shift_place not in ("blockres", "block"):
            raise ValueError(f"shift_place must be 'blockres' or 'block', got {shift_place!r}.")
        suffix = ".conv1" if shift_place == "blockres" else ""
        return [f"blocks.{index}{suffix}" for index in range(len(self.blocks))]


def pocketnet(*, weights: str = "") -> PocketNet:
    """Create a PocketNet; this is what the entry point names.

    Args:
        weights: File of a state dict, or empty for a random start.
    """
    model = PocketNet()
    if weights:
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model
