"""TSN and TSM for PyTorchVideo.

Names are loaded lazily: ``import tsn_tsm_plugin`` does not import torch. The import compares the versions of
torch and torchvision, and adds our names to PyTorchVideo (see `activate`), unless
``TSN_TSM_PLUGIN_AUTOACTIVATE=0``.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from tsn_tsm_plugin.requirements import check_torchvision

__version__ = "0.1.0"

_HOME = {
    "get_cfg": "config",
    "load_cfg": "config",
    "build_model": "models.build",
    "create_tsn": "models",
    "create_tsm": "models",
    "load_trained": "inference.trained_model",
    "load_weights": "models.load_weights",
    "optimize_for_inference": "models.deploy.optimize_for_inference",
    "StreamingTSM": "models.streaming.streaming_tsm",
    "keep_freed_memory": "host_memory",
    "VideoReader": "data.reader",
    "segment_indices": "transforms",
    "dense_indices": "transforms",
    "activate": "pytorchvideo_patch.activate",
    "deactivate": "pytorchvideo_patch.activate",
    "status": "pytorchvideo_patch.activate",
    "list_components": "pytorchvideo_patch.activate",
}
_ROOMS = ("config", "data", "engine", "evaluation", "inference", "layers", "models", "solver", "transforms")

__all__ = [
    "StreamingTSM",
    "VideoReader",
    "activate",
    "build_model",
    "config",
    "create_tsm",
    "create_tsn",
    "data",
    "deactivate",
    "dense_indices",
    "engine",
    "evaluation",
    "get_cfg",
    "keep_freed_memory",
    "layers",
    "list_components",
    "load_cfg",
    "load_trained",
    "load_weights",
    "models",
    "optimize_for_inference",
    "segment_indices",
    "solver",
    "status",
    "transforms",
]

if TYPE_CHECKING:
    from tsn_tsm_plugin import config, data, engine, evaluation, layers, models, solver, transforms
    from tsn_tsm_plugin.config import get_cfg, load_cfg
    from tsn_tsm_plugin.data.reader import VideoReader
    from tsn_tsm_plugin.host_memory import keep_freed_memory
    from tsn_tsm_plugin.inference.trained_model import load_trained
    from tsn_tsm_plugin.models import StreamingTSM, create_tsm, create_tsn
    from tsn_tsm_plugin.models.build import build_model
    from tsn_tsm_plugin.models.deploy.optimize_for_inference import optimize_for_inference
    from tsn_tsm_plugin.models.load_weights import load_weights
    from tsn_tsm_plugin.pytorchvideo_patch.activate import activate, deactivate, list_components, status
    from tsn_tsm_plugin.transforms import dense_indices, segment_indices


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


check_torchvision()
if os.environ.get("TSN_TSM_PLUGIN_AUTOACTIVATE", "1") != "0":
    importlib.import_module(f"{__name__}.pytorchvideo_patch.activate").activate(eager=False)
