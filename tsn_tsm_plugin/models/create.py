"""create_tsn, create_tsm: networks from keyword arguments."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from tsn_tsm_plugin.checkpoints.read_checkpoint import fetch_checkpoint
from tsn_tsm_plugin.checkpoints.zoo import find_zoo_row
from tsn_tsm_plugin.models.backbones.create import create_backbone
from tsn_tsm_plugin.models.backbones.input_channels import set_input_channels
from tsn_tsm_plugin.models.backbones.non_local_sites import NonLocalOptions
from tsn_tsm_plugin.models.heads import create_head
from tsn_tsm_plugin.models.load_weights import load_weights
from tsn_tsm_plugin.models.recognizer import TSM, TSN
from tsn_tsm_plugin.models.temporal_modules import TemporalModuleOptions

_Network = TypeVar("_Network", TSN, TSM)


def create_tsn(
    *,
    backbone: str = "resnet50",
    num_classes: int = 400,
    num_segments: int = 8,
    dropout_rate: float = 0.4,
    fc_init_std: float = 0.01,
    weights: str = "",
    head: str = "",
    head_options: Mapping[str, Any] | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    image_size: int | Sequence[int] = (),
    in_channels: int = 3,
) -> TSN:
    """Create a TSN, module (B, in_channels, T, H, W) -> (B, K).

    Example:
        >>> import torch
        >>> model = create_tsn(backbone="resnet18", num_classes=8, num_segments=3)
        >>> model(torch.rand(2, 3, 25, 64, 64)).shape  # trained with 3 frames, tested with 25
        torch.Size([2, 8])

    Args:
        backbone: Name of a registered backbone, ``"torchvision/NAME"`` or ``"timm/NAME"``.
        num_classes: K.
        num_segments: Frames of a view in training; the network takes any number.
        dropout_rate: Dropout of the averaged features, in [0, 1).
        fc_init_std: Standard deviation of the classifier's initial weights.
        weights: ImageNet weights of the backbone, e.g. ``"IMAGENET1K_V1"`` or a file; or the trained network
            of a recipe of the model zoo, e.g. ``"k400_r50_8f"``.
        head: Name of a registered head with its own initial weights; empty: TSN's head.
        head_options: Further keywords of a named head.
        backbone_options: Keyword arguments of the backbone, e.g. ``{"drop_path_rate": 0.1}`` for timm.
        image_size: Sides of the frames that the network must take, in pixels; empty: the network's own size.
        in_channels: Channels of a segment: 3 for RGB, 10 for five flow fields, 15 for five RGB differences.
            Trained weights of the first convolution are averaged over RGB, see
            :func:`~tsn_tsm_plugin.models.backbones.input_channels.set_input_channels`.
    """
    return _create(
        TSN,
        backbone=backbone,
        weights=weights,
        backbone_options=backbone_options,
        image_size=image_size,
        head=head,
        head_options=head_options,
        dropout_rate=dropout_rate,
        fc_init_std=fc_init_std,
        num_classes=num_classes,
        num_segments=num_segments,
        in_channels=in_channels,
    )


def create_tsm(
    *,
    backbone: str = "resnet50",
    num_classes: int = 400,
    num_segments: int = 8,
    dropout_rate: float = 0.5,
    fc_init_std: float = 0.001,
    weights: str = "",
    head: str = "",
    head_options: Mapping[str, Any] | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    image_size: int | Sequence[int] = (),
    in_channels: int = 3,
    shift_div: int = 8,
    shift_place: str = "blockres",
    temporal_pool: bool = False,
    causal: bool = False,
    non_local: str | tuple[str, Sequence[str]] | Mapping[str, Any] | NonLocalOptions | None = None,
    sites: Sequence[str] = (),
    tokens: str = "all",
    temporal_modules: Sequence[str | Mapping[str, Any] | TemporalModuleOptions] = (),
) -> TSM:
    """Create a TSM, module (B, in_channels, num_segments, H, W) -> (B, K).

    Example:
        >>> import torch
        >>> model = create_tsm(backbone="resnet18", num_classes=8, num_segments=8)
        >>> model.describe()
        'TSM: backbone=resnet18, num_segments=8, num_classes=8, temporal shift at 8 sites (...)'
        >>> model(torch.rand(2, 3, 8, 64, 64)).shape
        torch.Size([2, 8])

    Args:
        backbone: See :func:`create_tsn`; the residual blocks must be known.
        num_classes: K.
        num_segments: T, frames of a view.
        dropout_rate: Dropout of the features of every frame, in [0, 1).
        fc_init_std: Standard deviation of the classifier's initial weights.
        weights: ImageNet weights of the backbone, e.g. ``"IMAGENET1K_V1"`` or a file; or the trained network
            of a recipe of the model zoo, e.g. ``"k400_r50_8f"``.
        head: See :func:`create_tsn`; empty: TSM's head.
        head_options: See :func:`create_tsn`.
        backbone_options: See :func:`create_tsn`.
        image_size: See :func:`create_tsn`.
        in_channels: See :func:`create_tsn`.
        shift_div: One ``shift_div``-th of the channels is shifted each way.
        shift_place: ``"blockres"``: shift the residual branch of a block; ``"block"``: also its identity.
        temporal_pool: Halve the number of frames before the second stage.
        causal: Shift from the past only, for streams.
        non_local: A kind of :class:`~tsn_tsm_plugin.layers.NonLocal`, placed as in the papers; or a pair of
            kind and names of blocks such as ``("dot_product", ["layer2.0", "layer3.4"])``; or a mapping with
            the keys ``kind``, ``sites``, ``use_scale``, ``sub_sample``.
        sites: Patterns of the submodules that see shifted features, e.g. ``["blocks.*.mlp"]``; empty: the
            sites that the backbone declares. A dry run recognises feature maps (N, C, H, W) or (N, H, W, C)
            and tokens (N, L, C).
        tokens: ``"all"``, or ``"class"`` to shift only class and register tokens, as Token Shift does.
        temporal_modules: Modules at the sites: names of registered temporal modules, or mappings with the
            keys ``name``, ``sites`` and ``options``. ``"temporal_shift"`` takes the keywords above; empty is
            ``["temporal_shift"]``. At a shared site, a later module is put around an earlier one.

    Raises:
        ValueError: If a site, an option or a size does not fit.
        UnknownComponentError: If there is no such backbone, head or temporal module.
    """
    return _create(
        TSM,
        backbone=backbone,
        weights=weights,
        backbone_options=backbone_options,
        image_size=image_size,
        head=head,
        head_options=head_options,
        dropout_rate=dropout_rate,
        fc_init_std=fc_init_std,
        num_classes=num_classes,
        num_segments=num_segments,
        in_channels=in_channels,
        shift_div=shift_div,
        shift_place=shift_place,
        temporal_pool=temporal_pool,
        causal=causal,
        non_local=None if non_local is None else NonLocalOptions.parse(non_local),
        sites=(sites,) if isinstance(sites, str) else sites,
        tokens=tokens,
        temporal_modules=temporal_modules,
    )


def _create(
    network: type[_Network],
    *,
    backbone: str,
    weights: str,
    backbone_options: Mapping[str, Any] | None,
    image_size: int | Sequence[int],
    head: str,
    head_options: Mapping[str, Any] | None,
    dropout_rate: float,
    fc_init_std: float,
    num_classes: int,
    in_channels: int,
    **others: Any,
) -> _Network:
    row = find_zoo_row(weights, method=network.__name__.lower())
    frames = create_backbone(
        backbone, weights="" if row else weights, options=backbone_options, image_size=image_size
    )
    set_input_channels(frames, in_channels, is_trained=bool(weights) and not row)
    num_features = getattr(frames, "num_features", None)
    if not isinstance(num_features, int):
        raise ValueError(
            f"Backbone {backbone!r} must have an attribute num_features, the width of its feature map, "
            f"got {num_features!r}."
        )
    scores = create_head(
        head,
        own=network.own_head,
        in_features=num_features,
        num_classes=num_classes,
        dropout_rate=dropout_rate,
        fc_init_std=fc_init_std,
        options=head_options,
    )
    model = network(
        backbone=frames,
        head=scores,
        backbone_name=backbone,
        num_classes=num_classes,
        in_channels=in_channels,
        **others,
    )
    if row:
        load_weights(model, fetch_checkpoint(row))
    return model
