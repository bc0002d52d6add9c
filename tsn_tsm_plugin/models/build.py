"""Build the model that a recipe describes."""

from torch import nn

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.models.recognizer import create_tsm, create_tsn


def build_model(cfg: CfgNode, *, with_backbone_weights: bool = True) -> nn.Module:
    """Build the TSN or TSM of a recipe: module (B, 3, T, H, W) float -> (B, K) scores.

    Args:
        cfg: ``MODEL``, ``TSM`` and ``DATA.NUM_FRAMES`` are read.
        with_backbone_weights: Read ``MODEL.BACKBONE_WEIGHTS``. Not needed where a checkpoint follows.

    Raises:
        ConfigError: If ``MODEL.ARCH`` is neither.
    """
    common = {
        "backbone": cfg.MODEL.BACKBONE,
        "num_classes": cfg.MODEL.NUM_CLASSES,
        "num_segments": cfg.DATA.NUM_FRAMES,
        "dropout_rate": cfg.MODEL.DROPOUT_RATE,
        "fc_init_std": cfg.MODEL.FC_INIT_STD,
        "weights": cfg.MODEL.BACKBONE_WEIGHTS if with_backbone_weights else "",
    }
    if cfg.MODEL.ARCH == "tsn":
        return create_tsn(**common)
    if cfg.MODEL.ARCH == "tsm":
        return create_tsm(
            **common,
            shift_div=cfg.TSM.SHIFT_DIV,
            shift_place=cfg.TSM.SHIFT_PLACE,
            temporal_pool=cfg.TSM.TEMPORAL_POOL,
            causal=cfg.TSM.CAUSAL,
        )
    raise ConfigError(f"MODEL.ARCH must be 'tsn' or 'tsm', got {cfg.MODEL.ARCH!r}.")
