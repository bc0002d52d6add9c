"""One optimiser update from one batch.

Axes: B clips of this rank, C channels, T frames, H rows, W columns, K classes.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from tsn_tsm_plugin.engine.compile import Compiled
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.solver.losses import Loss, cross_entropy

_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class UpdateResult:
    """What an update was.

    Attributes:
        loss: Sum of the losses of this rank's clips.
        num_right: Clips of this rank whose label, or the larger share of a mixed one, had the highest score.
        grad_norm: L2 norm of all gradients over all ranks, before clipping.
        is_applied: Whether the update was made; where the gradients are not finite, nothing changes.
    """

    loss: float
    num_right: int
    grad_norm: float
    is_applied: bool


class Updater:
    """Turns batches into updates of the weights.

    The gradient is that of the mean loss over the clips of all ranks and parts, however they are distributed:
    two ranks, or two parts of one batch, give the update of the whole batch, except that batch norm sees only
    its own part.

    Args:
        model: The network, wrapped for several ranks or not.
        optimizer: Updates its weights.
        normalize: From uint8 to float, on the device.
        device: Where the network is.
        clip_grad_l2norm: Total gradient norm above which gradients are scaled down; 0 never.
        mixed_precision: ``"off"``, ``"bf16"`` or ``"fp16"``.
        max_clips_per_forward: Larger batches go through the network in equal parts whose gradients add up;
            0 is no limit.
        batch_transform: From a normalised video (B, C, T, H, W) and labels (B,) to such with labels (B, K),
            such as MixUp; of the whole batch, so that its parts still add up to it.
        multi_label: Whether labels are (B, K) of 0 and 1, each class decided on its own.
        compile_model: Whether to try ``torch.compile``.
        loss: From logits (B, K) and labels to the loss of each clip (B,); ``None`` is cross-entropy.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        normalize: nn.Module,
        device: torch.device,
        clip_grad_l2norm: float = 0.0,
        mixed_precision: str = "off",
        max_clips_per_forward: int = 0,
        batch_transform: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        multi_label: bool = False,
        compile_model: bool = False,
        loss: Loss | None = None,
    ) -> None:
        self._model = model
        self._forward = Compiled(model) if compile_model else model
        self.optimizer = optimizer
        self.normalize = normalize
        self.device = device
        self._max_norm = clip_grad_l2norm or math.inf
        self._precision = mixed_precision
        self._max_clips = max_clips_per_forward
        loss = loss or cross_entropy()
        self._loss_of_clips = loss.to(device) if isinstance(loss, nn.Module) else loss
        self._batch_transform = batch_transform
        self._multi_label = multi_label
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._buffers = [b for b in model.buffers() if b.is_floating_point()]
        self._buffers_before = [b.clone() for b in self._buffers]
        self.scaler = torch.amp.GradScaler(device.type, enabled=mixed_precision == "fp16")

    def __call__(self, batch: dict[str, Any], *, num_clips: int, world_size: int = 1) -> UpdateResult:
        """Take one step.

        Args:
            batch: At least one clip: ``video`` uint8 (B, C, T, H, W) and ``label`` (B,).
            num_clips: Clips of all ranks in this step.
            world_size: Number of ranks, over which the gradients are averaged.
        """
        video = batch["video"].to(self.device, non_blocking=True)
        label = batch["label"].to(self.device, non_blocking=True)
        self.optimizer.zero_grad(set_to_none=True)
        self._copy(self._buffers, self._buffers_before)
        # Ranks average gradients; the mean over all clips needs their sum over num_clips.
        weight = world_size / num_clips
        loss = torch.zeros((), device=self.device, dtype=torch.float64)
        num_right = torch.zeros((), device=self.device, dtype=torch.float64)
        for part, target, is_last in self._parts(video, label):
            with self._reduction(is_last):
                with self._autocast():
                    logits_BK = self._forward(part)
                part_loss = self._loss(logits_BK, target)
                self.scaler.scale(part_loss * weight).backward()
            loss += part_loss.detach()
            num_right += _num_right(logits_BK, target, multi_label=self._multi_label)
        return self._apply(loss, num_right)

    def _parts(self, video: Tensor, label: Tensor) -> Iterator[tuple[Tensor, Tensor, bool]]:
        if self._batch_transform is not None:
            video, label = self._batch_transform(self.normalize(video), label)
        num_parts = math.ceil(len(video) / self._max_clips) if self._max_clips else 1
        parts = list(zip(video.tensor_split(num_parts), label.tensor_split(num_parts), strict=True))
        for number, (part, target) in enumerate(parts, start=1):
            normalized = part if self._batch_transform is not None else self.normalize(part)
            yield normalized, target, number == num_parts

    def _reduction(self, is_last: bool) -> contextlib.AbstractContextManager[None]:
        """Let the ranks exchange gradients with the last part only."""
        if isinstance(self._model, DistributedDataParallel) and not is_last:
            return self._model.no_sync()
        return contextlib.nullcontext()

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._precision == "off":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=_PRECISIONS[self._precision])

    def _loss(self, logits_BK: Tensor, target: Tensor) -> Tensor:
        logits_BK = logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32))
        losses_B = self._loss_of_clips(logits_BK, target)
        if losses_B.shape != logits_BK.shape[:1]:
            raise ConfigError(
                f"SOLVER.LOSS must give one number for each of {len(logits_BK)} clips, got shape "
                f"{tuple(losses_B.shape)}. Leave out its mean or sum."
            )
        return losses_B.sum()

    @staticmethod
    def _copy(source: list[Tensor], target: list[Tensor]) -> None:
        if source:
            with torch.no_grad():
                torch._foreach_copy_(target, source)

    def _apply(self, loss: Tensor, num_right: Tensor) -> UpdateResult:
        self.scaler.unscale_(self.optimizer)
        grad_norm = nn.utils.clip_grad_norm_(self._parameters, self._max_norm)
        # One transfer for all three: every transfer makes the CPU wait for the GPU.
        loss_value, right, norm = torch.stack([loss, num_right, grad_norm.double()]).tolist()
        is_finite = math.isfinite(norm)
        if is_finite or self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if not is_finite:
            # The running statistics of batch norm have seen what the weights were spared.
            self._copy(self._buffers_before, self._buffers)
        return UpdateResult(loss_value, int(right), norm, is_finite)


def _num_right(logits_BK: Tensor, target: Tensor, *, multi_label: bool) -> Tensor:
    """Count the clips whose highest logit is their class, their largest share, or one of several classes."""
    top_B = logits_BK.argmax(dim=1)
    if multi_label:
        return target.gather(1, top_B[:, None]).sum()
    return (top_B == (target if target.ndim == 1 else target.argmax(dim=1))).sum()
