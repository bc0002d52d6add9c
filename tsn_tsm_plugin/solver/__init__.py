"""build_optimizer, build_loss, LrSchedule: optimisers, losses and schedules of the papers' recipes."""

from tsn_tsm_plugin.solver.build import build_loss, build_lr_schedule, build_optimizer, scaled_base_lr
from tsn_tsm_plugin.solver.param_groups import format_param_groups, tsm_param_groups, tsn_param_groups
from tsn_tsm_plugin.solver.schedule import LrSchedule

__all__ = [
    "LrSchedule",
    "build_loss",
    "build_lr_schedule",
    "build_optimizer",
    "format_param_groups",
    "scaled_base_lr",
    "tsm_param_groups",
    "tsn_param_groups",
]
