"""Layers: temporal shift, temporal pooling, non-local blocks and their helpers."""

from tsn_tsm_plugin.layers.block_edits import tsm_bottleneck
from tsn_tsm_plugin.layers.non_local import NON_LOCAL_KINDS, NonLocal, NonLocalAfter
from tsn_tsm_plugin.layers.temporal_pool import TemporalPool
from tsn_tsm_plugin.layers.temporal_shift import TemporalShift, temporal_shift

__all__ = [
    "NON_LOCAL_KINDS",
    "NonLocal",
    "NonLocalAfter",
    "TemporalPool",
    "TemporalShift",
    "temporal_shift",
    "tsm_bottleneck",
]
