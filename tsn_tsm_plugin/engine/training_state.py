"""TrainingState and Position: state of a run at a step boundary, saved to and restored from checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.distributed as dist
import yaml
from torch.optim import Optimizer

from tsn_tsm_plugin.checkpoints.metadata import attributes_of_model
from tsn_tsm_plugin.data.annotations import label_map_hash
from tsn_tsm_plugin.engine.ema import MovingAverage
from tsn_tsm_plugin.engine.random_state import random_state
from tsn_tsm_plugin.engine.resume import compare_configs, is_within_epoch
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.models import TSM, TSN
from tsn_tsm_plugin.ranks import Ranks
from tsn_tsm_plugin.runs.progress import Totals

logger = get_logger(__name__)


@dataclass
class Position:
    """Progress of a run.

    Attributes:
        epoch: The current epoch, from 0.
        batch: Finished steps of the epoch.
        totals: Sums over these steps.
        best: Highest validation accuracy so far, in percent; negative before the first validation.
        extra_steps: Steps taken minus the steps of ``epoch`` epochs of the current length. The length may
            change on resume.
        nonfinite_steps: Last steps in a row with non-finite gradients.
        bad_videos: Paths of the unreadable videos of the epoch so far.
        num_records: Records in the metrics log.
        validations_since_best: Validations after the best validation.
    """

    epoch: int = 0
    batch: int = 0
    totals: Totals = field(default_factory=Totals)
    best: float = -1.0
    extra_steps: int = 0
    nonfinite_steps: int = 0
    bad_videos: list[str] = field(default_factory=list)
    num_records: int = 0
    validations_since_best: int = 0

    def count_validation(self, accuracy: float) -> bool:
        """Record a validation; return whether it is the best so far."""
        is_best = accuracy > self.best
        self.best = max(self.best, accuracy)
        self.validations_since_best = 0 if is_best else self.validations_since_best + 1
        return is_best

    def start_next_epoch(self) -> None:
        """Move to the first batch of the next epoch."""
        self.epoch, self.batch, self.totals, self.bad_videos = self.epoch + 1, 0, Totals(), []


class TrainingState:
    """The parts of a run that a checkpoint contains.

    Args:
        model: The network, without a wrapper.
        optimizer: Optimiser of its parameters.
        scaler: Loss scaler for fp16; disabled otherwise.
        ranks: Ranks; all of them call the methods together.
        steps_per_epoch: Current steps of an epoch.
        averaged: The moving average of the network, if the run keeps one.
        class_names: Names in the label map.
        config: The recipe, YAML.
    """

    def __init__(
        self,
        model: TSN | TSM,
        optimizer: Optimizer,
        *,
        scaler: torch.amp.GradScaler,
        ranks: Ranks,
        steps_per_epoch: int,
        averaged: MovingAverage | None = None,
        class_names: Sequence[str] = (),
        config: str = "{}",
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.scaler = scaler
        self.ranks = ranks
        self.steps_per_epoch = steps_per_epoch
        self.averaged = averaged
        self.class_names = list(class_names)
        self.config = config
        self.position = Position()

    @property
    def step(self) -> int:
        """Steps done in the whole run; checkpoints and metrics are ordered by it."""
        return self.position.extra_steps + self.scheduled_step

    @property
    def scheduled_step(self) -> int:
        """Steps taken if all epochs had the current length, for the schedule."""
        return self.position.epoch * self.steps_per_epoch + self.position.batch

    @property
    def tested_model(self) -> TSN | TSM:
        """The network to test and use: the moving average if there is one."""
        return cast(TSN | TSM, self.averaged.module) if self.averaged is not None else self.model

    def tested_model_in_train_mode(self) -> TSN | TSM:
        """Return :attr:`tested_model`, with each module in the mode of the trained network."""
        for tested, trained in zip(self.tested_model.modules(), self.model.modules(), strict=True):
            tested.training = trained.training
        return self.tested_model

    def share_buffers(self) -> None:
        """Send the running statistics of rank 0 to all ranks, so that all test the saved model."""
        if self.ranks.world_size > 1:
            for buffer in self.tested_model.buffers():
                dist.broadcast(buffer, 0)

    def snapshot(self) -> dict[str, Any]:
        """Return the content of a checkpoint, tensors and plain values; every rank calls this method."""
        randomness = self.ranks.gather(random_state())
        position = self.position
        averaging: dict[str, Any] = {}
        if self.averaged is not None:
            averaging = {"trained_state": self.model.state_dict(), "num_averaged": self.averaged.num_updates}
        return {
            "model_state": self.tested_model.state_dict(),
            **averaging,
            "optimizer_state": self.optimizer.state_dict(),
            "scaler_state": self.scaler.state_dict(),
            "epoch": position.epoch,
            "batch": position.batch,
            "step": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "epoch_totals": dict(vars(position.totals)),
            "best": position.best,
            "counters": {
                "nonfinite_steps": position.nonfinite_steps,
                "validations_since_best": position.validations_since_best,
                "bad_videos": position.bad_videos,
                "num_records": position.num_records,
            },
            "random_state": randomness,
            "facts": attributes_of_model(self.model),
            "config": self.config,
            "class_names": self.class_names,
            "label_map_hash": label_map_hash(self.class_names),
        }

    def restore(self, state: dict[str, Any]) -> dict[str, Any] | None:
        """Restore the result of :meth:`snapshot`; the recipe may differ in compatible settings.

        Returns:
            The random state to restore once the epoch's loader has started. ``None`` if the number of ranks
            differs and the run cannot resume bit for bit.

        Raises:
            CheckpointError: If recipe or label map do not fit the checkpoint; nothing is loaded.
        """
        try:
            return self._restore(state)
        except CheckpointError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, yaml.YAMLError) as error:
            reason = ascii(str(error).partition("\n")[0])[1:-1][:200]
            raise CheckpointError(
                f"The checkpoint does not fit this run ({type(error).__name__}: {reason}): it is damaged, or "
                "of another version. Remove it to go on from the one before it, or start in a new OUTPUT_DIR."
            ) from error

    def _restore(self, state: dict[str, Any]) -> dict[str, Any] | None:
        steps_per_epoch = self.steps_per_epoch
        within_epoch = is_within_epoch(state)
        compare_configs(state, self.config)
        if state["label_map_hash"] != label_map_hash(self.class_names):
            raise CheckpointError(
                "The label map differs from the one of the checkpoint: what it calls "
                f"{state['class_names'][:3]}... is {self.class_names[:3]}... now. Give DATA.LABEL_MAP the "
                "old file, or start in a new OUTPUT_DIR."
            )
        if within_epoch and state["steps_per_epoch"] != steps_per_epoch:
            raise CheckpointError(
                f"The checkpoint lies within an epoch of {state['steps_per_epoch']} steps, which now has "
                f"{steps_per_epoch}: the list of videos has changed. Restore it, or start in a new "
                "OUTPUT_DIR."
            )
        self.model.load_state_dict(state.get("trained_state", state["model_state"]))
        if self.averaged is not None:
            self.averaged.module.load_state_dict(state["model_state"])
            self.averaged.num_updates.copy_(state["num_averaged"])
        self._restore_optimizer(state["optimizer_state"])
        if self.scaler.is_enabled() and state["scaler_state"]:
            self.scaler.load_state_dict(state["scaler_state"])
        batch = state["batch"] if within_epoch else steps_per_epoch * bool(state["batch"])
        self.position = Position(
            state["epoch"],
            batch,
            Totals(**state["epoch_totals"]),
            state["best"],
            extra_steps=state["step"] - state["epoch"] * steps_per_epoch - batch,
            **state["counters"],
        )
        states = state["random_state"]
        if len(states) == self.ranks.world_size:
            return states[self.ranks.rank]
        logger.warning(
            f"The checkpoint is of {len(states)} ranks, this run has {self.ranks.world_size}: it goes on "
            "with the same videos, but dropout draws other numbers: the weights will differ in their bits."
        )
        return None

    def _restore_optimizer(self, saved: dict[str, Any]) -> None:
        """Load the state of the optimiser; its settings come from the current recipe."""
        settings = {*self.optimizer.defaults, "weight_decay", "lr_mult", "decay_mult"}
        groups = zip(saved["param_groups"], self.optimizer.param_groups, strict=True)
        merged = [group | {name: own[name] for name in settings if name in own} for group, own in groups]
        self.optimizer.load_state_dict(saved | {"param_groups": merged})
