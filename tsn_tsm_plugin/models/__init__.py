"""TSN, TSM, create_tsn, create_tsm, build_model, load_weights: models, heads and their checkpoints."""

# ruff: noqa: E402
from tsn_tsm_plugin.requirements import check_torchvision_imports

check_torchvision_imports()

from tsn_tsm_plugin.models.build import build_model
from tsn_tsm_plugin.models.create import create_tsm, create_tsn
from tsn_tsm_plugin.models.heads import TSMHead, TSNHead, create_tsm_head, create_tsn_head
from tsn_tsm_plugin.models.load_weights import LoadReport, load_weights
from tsn_tsm_plugin.models.recognizer import TSM, TSN
from tsn_tsm_plugin.models.streaming.streaming_tsm import StreamingTSM

__all__ = [
    "TSM",
    "TSN",
    "LoadReport",
    "StreamingTSM",
    "TSMHead",
    "TSNHead",
    "build_model",
    "create_tsm",
    "create_tsm_head",
    "create_tsn",
    "create_tsn_head",
    "load_weights",
]
