"""TSNHead, TSMHead, create_head: map the features of a view's frames to one score per class.

Axes: B videos, C channels, T frames, H rows, W columns, K classes.
Sources: Wang et al., "Temporal Segment Networks", arXiv:1608.00859, average consensus; Lin et al., "TSM",
arXiv:1811.08383. The order of dropout, classifier and consensus is as in MMAction2's two heads.
"""

from collections.abc import Callable, Mapping
from typing import Any, Self

from torch import Tensor, nn

from tsn_tsm_plugin.registry import HEADS


class _LinearHead(nn.Module):
    """Dropout, classifier and an optional activation; the subclasses define what is averaged, and when.

    ``create_tsn_head`` and ``create_tsm_head`` are :meth:`in_slot` of the two heads.

    Args:
        in_features: C.
        num_classes: K.
        dropout_rate: Probability of dropping a feature in training, in [0, 1).
        fc_init_std: Standard deviation of the classifier's initial weights; its bias starts at 0.
        activation: Module that is applied to the scores, or ``None``.
    """

    _slot_std = 0.01

    def __init__(
        self,
        *,
        in_features: int,
        num_classes: int,
        dropout_rate: float = 0.5,
        fc_init_std: float = 0.01,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= dropout_rate < 1:
            raise ValueError(f"dropout_rate must be in [0, 1), got {dropout_rate}.")
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
        self.dropout = nn.Dropout(dropout_rate)
        self.fc = nn.Linear(in_features, num_classes)
        self.activation = activation
        self.fc_init_std = fc_init_std
        nn.init.normal_(self.fc.weight, 0.0, fc_init_std)
        nn.init.zeros_(self.fc.bias)

    @classmethod
    def in_slot(
        cls,
        *,
        in_features: int,
        out_features: int,
        pool: Callable[..., nn.Module] | None = None,
        output_size: tuple[int, int, int] = (1, 1, 1),
        pool_kernel_size: tuple[int, int, int] = (1, 7, 7),
        dropout_rate: float = 0.5,
        activation: Callable[..., nn.Module] | None = None,
        output_with_global_average: bool = True,
        fc_init_std: float | None = None,
    ) -> Self:
        """Create the head with the keywords of PyTorchVideo's ``create_resnet(head=)``.

        The keywords ``pool`` and ``pool_kernel_size`` are ignored: pooling is always the global average, so
        frames of any size fit. PyTorchVideo's ``Net`` re-initialises the classifier with a deviation of 0.01.
        The default of ``fc_init_std`` is 0.01 for TSN and 0.001 for TSM.

        Example:
            >>> from pytorchvideo.models.resnet import create_resnet
            >>> from tsn_tsm_plugin.layers import tsm_bottleneck
            >>> network = create_resnet(model_num_class=8, bottleneck=tsm_bottleneck, head=create_tsm_head)
            >>> network.blocks[-1].fc
            Linear(in_features=2048, out_features=8, bias=True)

        Raises:
            ValueError: If the keywords request other scores than one per class and video.
        """
        if tuple(output_size) != (1, 1, 1) or not output_with_global_average:
            raise ValueError(
                "The head returns one score per class and video: output_size must be (1, 1, 1) with "
                f"output_with_global_average, got {tuple(output_size)} and {output_with_global_average}."
            )
        options = {"dim": 1} if activation in (nn.Softmax, nn.LogSoftmax) else {}
        return cls(
            in_features=in_features,
            num_classes=out_features,
            dropout_rate=dropout_rate,
            fc_init_std=cls._slot_std if fc_init_std is None else fc_init_std,
            activation=None if activation is None else activation(**options),
        )

    def _activate(self, scores_BK: Tensor) -> Tensor:
        return scores_BK if self.activation is None else self.activation(scores_BK)


class TSNHead(_LinearHead):
    """Average the features over space and all frames, then drop out and classify.

    The frames may belong to several views: the scores of their mean features are the mean of the views'
    scores.
    """

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Map features (B, C, T, H, W) of any T, H and W to scores (B, K)."""
        features_BC = x_BCTHW.mean((3, 4)).mean(2)
        return self._activate(self.fc(self.dropout(features_BC)))


class TSMHead(_LinearHead):
    """Average the features over space, drop out and classify every frame, then average the scores."""

    _slot_std = 0.001

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Map features (B, C, T, H, W) of any T, H and W to scores (B, K)."""
        features_BTC = x_BCTHW.mean((3, 4)).transpose(1, 2)
        return self._activate(self.fc(self.dropout(features_BTC)).mean(1))


create_tsn_head = TSNHead.in_slot
create_tsm_head = TSMHead.in_slot


def create_head(
    name: str,
    *,
    own: type[TSNHead] | type[TSMHead],
    in_features: int,
    num_classes: int,
    dropout_rate: float,
    fc_init_std: float,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Create a registered head, of any distribution, with the eight keywords of ``create_resnet(head=)``.

    Args:
        name: Name in ``registry.HEADS``; empty creates ``own``.
        own: The head of the method.
        in_features: C.
        num_classes: K.
        dropout_rate: Probability of dropping a feature in training, in [0, 1).
        fc_init_std: Initial deviation of ``own``'s classifier; a named head initialises itself.
        options: Further keywords of a named head.

    Raises:
        UnknownComponentError: If no distribution offers the name.
        ConfigError: If the head does not take the options.
    """
    if not name:
        return own(
            in_features=in_features,
            num_classes=num_classes,
            dropout_rate=dropout_rate,
            fc_init_std=fc_init_std,
        )
    head: nn.Module = HEADS.create(
        name,
        options=options,
        key="head_options",
        in_features=in_features,
        out_features=num_classes,
        pool=None,
        output_size=(1, 1, 1),
        pool_kernel_size=(1, 7, 7),
        dropout_rate=dropout_rate,
        activation=None,
        output_with_global_average=True,
    )
    return head
