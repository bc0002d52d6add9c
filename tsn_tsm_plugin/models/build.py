"""build_model, complexity_of: the model that a recipe describes, and its cost."""

from typing import Any

import torch

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.config.node import plain
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.models.backbones.non_local_sites import NonLocalOptions
from tsn_tsm_plugin.models.complexity import Complexity, measure_complexity
from tsn_tsm_plugin.models.create import create_tsm, create_tsn
from tsn_tsm_plugin.models.recognizer import TSM, TSN
from tsn_tsm_plugin.transforms.build import frames_of_view
from tsn_tsm_plugin.transforms.modality import MODALITIES


def build_model(cfg: CfgNode, *, with_backbone_weights: bool = True) -> TSN | TSM:
    """Build the TSN or TSM of a recipe: module (B, C, T, H, W) float -> (B, K) scores.

    Args:
        cfg: Recipe with ``MODEL``, ``TSM``, ``NONLOCAL``, ``DATA.NUM_FRAMES``, ``DATA.MODALITY`` and
            ``DATA.DATASET``.
        with_backbone_weights: Read ``MODEL.BACKBONE_WEIGHTS``; not needed if a checkpoint follows.

    Raises:
        ConfigError: If ``MODEL.ARCH`` is not ``tsn`` or ``tsm``, or the network cannot be built.
    """
    common = {
        "backbone": cfg.MODEL.BACKBONE,
        "num_classes": cfg.MODEL.NUM_CLASSES,
        "num_segments": cfg.DATA.NUM_FRAMES,
        "dropout_rate": cfg.MODEL.DROPOUT_RATE,
        "fc_init_std": cfg.MODEL.FC_INIT_STD,
        "weights": cfg.MODEL.BACKBONE_WEIGHTS if with_backbone_weights else "",
        "backbone_options": plain(cfg.MODEL.BACKBONE_OPTIONS),
        "image_size": (cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE),
        "head": cfg.MODEL.HEAD,
        "head_options": plain(cfg.MODEL.HEAD_OPTIONS),
        "in_channels": MODALITIES[cfg.DATA.MODALITY].num_channels,
    }
    if cfg.MODEL.ARCH not in ("tsn", "tsm"):
        raise ConfigError(f"MODEL.ARCH must be 'tsn' or 'tsm', got {cfg.MODEL.ARCH!r}.")
    try:
        model = create_tsn(**common) if cfg.MODEL.ARCH == "tsn" else create_tsm(**common, **_tsm_options(cfg))
    except ValueError as error:
        raise ConfigError(f"The network of the recipe cannot be built: {error}") from error
    # Something-Something V1 and V2 have the same number of classes; only the dataset's name differs.
    model.dataset = cfg.DATA.DATASET
    return model


def _tsm_options(cfg: CfgNode) -> dict[str, Any]:
    return {
        "shift_div": cfg.TSM.SHIFT_DIV,
        "shift_place": cfg.TSM.SHIFT_PLACE,
        "temporal_pool": cfg.TSM.TEMPORAL_POOL,
        "causal": cfg.TSM.CAUSAL,
        "sites": cfg.TSM.SITES,
        "tokens": cfg.TSM.TOKENS,
        "non_local": _non_local(cfg),
        "temporal_modules": plain(cfg.MODEL.TEMPORAL_MODULES),
    }


def complexity_of(cfg: CfgNode) -> Complexity:
    """Return the cost of one test view of a recipe's network; compute, download and allocate nothing.

    Raises:
        ConfigError: See :func:`build_model`.
    """
    with torch.device("meta"):
        model = build_model(cfg, with_backbone_weights=False)
    return measure_complexity(model, num_frames=frames_of_view(cfg, "test"), size=cfg.DATA.TEST_CROP_SIZE)


def _non_local(cfg: CfgNode) -> NonLocalOptions | None:
    if not cfg.NONLOCAL.INSTANTIATION:
        return None
    return NonLocalOptions(
        kind=cfg.NONLOCAL.INSTANTIATION,
        sites=tuple(cfg.NONLOCAL.LOCATION),
        use_scale=cfg.NONLOCAL.USE_SCALE,
        sub_sample=cfg.NONLOCAL.SUB_SAMPLE,
    )
