"""Models for ``torch.hub``, from a checkout of this repository.

    torch.hub.load("CHECKOUT", "tsm_r50", source="local", num_classes=174)
    torch.hub.load("CHECKOUT", "trained", "runs/tsm/motion_r18_8f", source="local")

The names are those that this package adds to ``pytorchvideo.models.hub``. The package itself must be
installed (``pip install -e CHECKOUT``).
"""

from typing import Any

from torch import nn

from tsn_tsm_plugin.pytorchvideo_patch.hub_models import HUB_MODELS, create_hub_model

dependencies = ["torch", "torchvision", "tsn_tsm_plugin"]

globals().update({name: create_hub_model(name) for name in HUB_MODELS})


def trained(weights: str, **options: Any) -> nn.Module:
    """Load a trained network from its checkpoint, safetensors file or run folder.

    Args:
        weights: A file, a folder or a URL.
        **options: As in ``tsn_tsm_plugin.load_trained``.
    """
    from tsn_tsm_plugin import load_trained

    return load_trained(weights, **options).model
