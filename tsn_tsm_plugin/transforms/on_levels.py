"""OnLevels: use a transform of uint8 clips in PyTorchVideo's pipelines, which may pass floats.

Axes: C channels, T frames, H rows, W columns.
"""

from torch import Tensor, nn

from tsn_tsm_plugin.transforms.pixel_range import to_levels


class OnLevels(nn.Module):
    """Apply a transform of levels 0-255 to a clip of any range; return the range that the next step expects.

    Args:
        transform: Function or module that maps uint8 (C, T, H, W) to uint8 (C, T', H', W').
        are_scaled_after: Whether ``ConvertUint8ToFloat`` follows; if so, the result is uint8.
        is_mean_in_levels: Whether the next normalisation has a mean in 0-255; if so, the result is a float in
            0-255. Otherwise clip and result are floats in 0-1.
    """

    def __init__(
        self, transform: nn.Module, *, are_scaled_after: bool = True, is_mean_in_levels: bool = False
    ) -> None:
        super().__init__()
        self.transform = transform
        self.are_scaled_after = are_scaled_after
        self.is_mean_in_levels = is_mean_in_levels

    def forward(self, video: Tensor) -> Tensor:
        """Map a clip (C, T, H, W) to (C, T', H', W').

        Raises:
            TypeError: If the clip is in neither range, or has levels that no step will scale.
        """
        if self.are_scaled_after or self.is_mean_in_levels:
            levels: Tensor = self.transform(to_levels(video))
            return levels if self.are_scaled_after else levels.float()
        if not video.is_floating_point() or float(video.max()) > 1.0:
            raise TypeError(
                f"The clip holds levels of 0-255 ({video.dtype}), but video_mean is of values in 0-1: pass "
                "convert_to_float=True."
            )
        changed: Tensor = self.transform(to_levels(video * 255.0))
        return changed.to(video.dtype) / 255.0
