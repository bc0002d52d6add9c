"""NonLocal, NonLocalAfter: blocks in which every position of a clip attends to all positions.

Axes: B videos, C channels, T frames, H rows, W columns; N = T*H*W queries, M keys, D inner channels.
Sources: Wang et al., "Non-local Neural Networks", CVPR 2018, arXiv:1711.07971, section 3; sub-sampling,
missing scaling and zero start as in MMAction2's ``NL3DWrapper`` and mit-han-lab's ``ops/non_local.py``.
"""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from tsn_tsm_plugin.layers.temporal_module import clips_to_frames, frames_to_clips

NON_LOCAL_KINDS = ("embedded_gaussian", "gaussian", "dot_product")


class NonLocal(nn.Module):
    """Add to every position a weighted sum of all positions of its clip; the identity at initialisation.

    With ``g`` half as wide as the input, and ``theta``, ``phi`` 1x1x1 convolutions::

        embedded_gaussian   y = softmax(theta(x) phi(x)^T) g(x)
        gaussian            y = softmax(x x^T) g(x)
        dot_product         y = theta(x) (phi(x)^T g(x)) / M
        output              x + norm(conv_out(y))

    No (N, M) matrix is kept: the softmax kinds use ``scaled_dot_product_attention``, and the dot product,
    which is linear, multiplies keys and values first.

    Example:
        >>> import torch
        >>> features = torch.rand(2, 16, 4, 7, 7)
        >>> torch.equal(NonLocal(16, kind="dot_product")(features), features)  # until it is trained
        True

    Args:
        dim: C.
        kind: ``"embedded_gaussian"``, ``"gaussian"`` or ``"dot_product"``.
        use_scale: Divide by the square root of D before the softmax of the embedded Gaussian. The references'
            checkpoints were trained without this scaling.
        sub_sample: Max-pool keys and values over 2x2 pixels.
    """

    def __init__(
        self,
        dim: int,
        *,
        kind: str = "embedded_gaussian",
        use_scale: bool = False,
        sub_sample: bool = True,
    ) -> None:
        super().__init__()
        if kind not in NON_LOCAL_KINDS:
            raise ValueError(f"kind must be one of {', '.join(NON_LOCAL_KINDS)}, got {kind!r}.")
        if dim < 2:
            raise ValueError(f"dim must be at least 2, got {dim}.")
        self.dim = dim
        self.kind = kind
        self.use_scale = use_scale
        self.sub_sample = sub_sample
        dim_inner = dim // 2
        self.g = nn.Conv3d(dim, dim_inner, 1)
        self.theta = None if kind == "gaussian" else nn.Conv3d(dim, dim_inner, 1)
        self.phi = None if kind == "gaussian" else nn.Conv3d(dim, dim_inner, 1)
        self.conv_out = nn.Conv3d(dim_inner, dim, 1, bias=False)
        self.norm = nn.BatchNorm3d(dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw convolution weights from N(0, 0.01); the zero batch norm makes the block the identity."""
        for conv in (self.g, self.theta, self.phi):
            if conv is not None:
                nn.init.normal_(conv.weight, std=0.01)
                nn.init.zeros_(cast(Tensor, conv.bias))
        nn.init.zeros_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Map features (B, C, T, H, W) to features of the same shape."""
        if x_BCTHW.ndim != 5 or x_BCTHW.shape[1] != self.dim:
            raise ValueError(f"x must be (B, {self.dim}, T, H, W), got shape {tuple(x_BCTHW.shape)}.")
        queries_BND = _tokens(x_BCTHW if self.theta is None else self.theta(x_BCTHW))
        keys_BMD = _tokens(self._sub_sample(x_BCTHW if self.phi is None else self.phi(x_BCTHW)))
        values_BMD = _tokens(self._sub_sample(self.g(x_BCTHW)))
        if self.kind == "dot_product":
            found_BND = queries_BND @ (keys_BMD.transpose(1, 2) @ values_BMD / keys_BMD.shape[1])
        else:
            found_BND = self._attend(queries_BND, keys_BMD, values_BMD)
        found_BDTHW = found_BND.transpose(1, 2).unflatten(2, x_BCTHW.shape[2:])
        return x_BCTHW + self.norm(self.conv_out(found_BDTHW))

    def _sub_sample(self, x_BCTHW: Tensor) -> Tensor:
        if not self.sub_sample:
            return x_BCTHW
        # Do not pool a map of one pixel.
        return F.max_pool3d(x_BCTHW, (1, min(2, x_BCTHW.shape[3]), min(2, x_BCTHW.shape[4])))

    def _attend(self, queries_BND: Tensor, keys_BMD: Tensor, values_BMD: Tensor) -> Tensor:
        width, value_width = queries_BND.shape[2], values_BMD.shape[2]
        scale = width**-0.5 if self.use_scale and self.kind == "embedded_gaussian" else 1.0
        # Kernels without an (N, M) matrix need values as wide as queries; "gaussian" values are half as wide.
        values_BMD = F.pad(values_BMD, (0, width - value_width))
        found_BND = F.scaled_dot_product_attention(
            queries_BND.unsqueeze(1), keys_BMD.unsqueeze(1), values_BMD.unsqueeze(1), scale=scale
        )
        return found_BND.squeeze(1)[..., :value_width]

    def extra_repr(self) -> str:
        """Name the kind and its options."""
        return f"{self.dim}, kind={self.kind}, use_scale={self.use_scale}, sub_sample={self.sub_sample}"


def _tokens(x_BCTHW: Tensor) -> Tensor:
    # Attention without an (N, M) matrix requires channels last in memory too.
    return x_BCTHW.permute(0, 2, 3, 4, 1).contiguous().flatten(1, 3)


class NonLocalAfter(nn.Module):
    """Apply a module of a 2D network, then a non-local block over the frames of each video.

    The two modules are ``.block`` and ``.non_local``, so that parameter names match published checkpoints.

    Args:
        block: Module that maps frames (BT, C', H', W') to (BT, C, H, W).
        non_local: Non-local block on C channels.
        num_segments: T.
    """

    def __init__(self, block: nn.Module, non_local: NonLocal, *, num_segments: int) -> None:
        super().__init__()
        self.block = block
        self.non_local = non_local
        self.num_segments = num_segments

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map frames (BT, C', H', W') to (BT, C, H, W)."""
        features: Tensor = self.block(x_NCHW)
        clips_BCTHW = frames_to_clips(features, num_segments=self.num_segments)
        return clips_to_frames(self.non_local(clips_BCTHW), like=features)

    def extra_repr(self) -> str:
        """Name the number of frames."""
        return f"num_segments={self.num_segments}"
