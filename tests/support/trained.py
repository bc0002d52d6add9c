"""write_checkpoint: write a checkpoint of a small network with random weights, as training does."""

from pathlib import Path

import torch

from tsn_tsm_plugin import build_model, load_cfg

CLASS_NAMES = ["opening", "closing", "neither of the two"]


def write_checkpoint(
    path: Path, *overrides: str, causal: bool = False, class_names: list[str] | None = None
) -> Path:
    """Write a TSM ResNet-18 for 4 frames of 32 x 32 pixels, whose scores vary from frame to frame."""
    recipe = path.with_suffix(".yaml")
    recipe.write_text(
        f"""
        MODEL: {{ARCH: tsm, BACKBONE: resnet18, NUM_CLASSES: 3, FC_INIT_STD: 1.0}}
        TSM: {{CAUSAL: {causal}}}
        DATA: {{NUM_FRAMES: 4, TEST_SHORT_SIDE: 36, TEST_CROP_SIZE: 32, TRAIN_CROP_SIZE: 32}}
        """
    )
    cfg = load_cfg(recipe, overrides)
    torch.manual_seed(0)
    model = build_model(cfg)
    names = CLASS_NAMES if class_names is None else class_names
    torch.save({"model_state": model.state_dict(), "config": cfg.dump(), "class_names": names}, path)
    return path
