"""OptimizerStep, StepLog: a step of the optimiser without waiting for the device, and a log of steps.

Axes: B clips of this rank, C channels, T frames, H rows, W columns, K classes.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.models.deploy.compile import Compiled
from tsn_tsm_plugin.solver.losses import Loss, cross_entropy

_PRECISIONS = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepResult:
    """Result of a step, in 0-dimensional tensors on the device; reading a tensor waits for the step.

    Attributes:
        loss: Sum of the losses of this rank's clips, float64.
        num_correct: Correct clips of this rank, float64: the top-1 class is a label, or the larger part of a
            mixed label.
        grad_norm: L2 norm of all gradients over all ranks, before clipping.
        is_applied: Whether the step was applied. Steps with non-finite gradients are skipped.
        loss_scale: Factor of fp16 gradients after the step; 1 otherwise.
    """

    loss: Tensor
    num_correct: Tensor
    grad_norm: Tensor
    is_applied: Tensor
    loss_scale: Tensor


class StepNumbers(NamedTuple):
    """The numbers of a step; see :class:`StepResult`."""

    loss: float
    num_correct: int
    grad_norm: float
    is_applied: bool
    loss_scale: float


class StepLog:
    """Collects the results of steps without waiting for them.

    Args:
        device: Device of the results.
        capacity: Maximum number of steps between two readings.
    """

    def __init__(self, device: torch.device, *, capacity: int) -> None:
        self._rows = torch.zeros(capacity, len(StepNumbers._fields), dtype=torch.float64, device=device)
        self._num_rows = 0

    def add(self, result: StepResult) -> None:
        """Record the result of a step."""
        columns = [getattr(result, name).double() for name in StepNumbers._fields]
        torch.stack(columns, out=self._rows[self._num_rows])
        self._num_rows += 1

    def read(self) -> list[StepNumbers]:
        """Return the steps since the last reading, oldest first, by one transfer from the device."""
        rows = self._rows[: self._num_rows].tolist()
        self._num_rows = 0
        return [
            StepNumbers(loss, int(right), norm, bool(applied), scale)
            for loss, right, norm, applied, scale in rows
        ]


class OptimizerStep:
    """Turns batches into steps of the optimiser.

    The gradient is of the mean loss over the clips of all ranks and parts. Two ranks or parts therefore give
    the step of the whole batch. Batch norm sees only the clips of one part.

    A step whose gradients are not finite is skipped on the device. This needs an optimiser with
    ``fused=True``. With other optimisers (LARS), each step waits for one number.

    Args:
        model: The network.
        optimizer: Optimiser of the network's weights.
        normalize: Maps uint8 to float, on the device.
        device: Device of the network.
        loss: Loss of each clip; default: cross entropy.
        wrap: Wraps forward pass and loss for several ranks, such as ``data_parallel`` with its options.
        clip_grad_l2norm: Total gradient norm above which gradients are scaled down; 0 never.
        mixed_precision: ``"off"``, ``"bf16"`` or ``"fp16"``.
        max_clips_per_forward: Larger batches go through the network in equal parts whose gradients add up;
            0 is no limit.
        batch_transform: Mixing such as MixUp: maps a normalised video (B, C, T, H, W) and labels (B,) to a
            video and labels (B, K). It applies to the whole batch, before the batch is split.
        compile_mode: Mode of ``torch.compile`` for forward pass and loss; empty does not compile.
        clips_per_step: Clips of a full batch of this rank. Only full batches run compiled, because
            smaller batches would be compiled again. Required with ``compile_mode``.

    Attributes:
        wrapped: Forward pass and loss, as ``wrap`` returned it.
        scaler: Loss scaler for fp16; disabled otherwise.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        normalize: nn.Module,
        device: torch.device,
        loss: Loss | None = None,
        wrap: Callable[[nn.Module], nn.Module] | None = None,
        clip_grad_l2norm: float = 0.0,
        mixed_precision: str = "off",
        max_clips_per_forward: int = 0,
        batch_transform: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        compile_mode: str = "",
        clips_per_step: int = 0,
    ) -> None:
        self.optimizer = optimizer
        self.normalize = normalize
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=mixed_precision == "fp16")
        self._forward_and_loss = ForwardAndLoss(
            model, normalize, loss or cross_entropy(), precision=mixed_precision, device=device
        )
        self.wrapped = wrap(self._forward_and_loss) if wrap is not None else self._forward_and_loss
        self._max_clips = max_clips_per_forward
        self._call: Any = self.wrapped
        if compile_mode:
            full_part = -(-clips_per_step // self._num_parts(clips_per_step))
            self._call = Compiled(self.wrapped, mode=compile_mode, num_clips=full_part)
        self._max_norm = clip_grad_l2norm
        self._batch_transform = batch_transform
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._skips_on_device = all(group.get("fused") for group in optimizer.param_groups)
        self._one = torch.ones((), device=device)
        self._statistics = _Statistics(model)
        if self._skips_on_device:
            _create_momentum(optimizer)

    def set_loss(self, loss: Loss) -> None:
        """Set another loss of each clip."""
        self._forward_and_loss.set_loss(loss)

    def keep_statistics(self) -> None:
        """Save the current running statistics, which a skipped step restores.

        Call this method after other code has changed the statistics.
        """
        self._statistics.keep()

    def __call__(self, batch: Mapping[str, Any], *, num_clips: int, world_size: int = 1) -> StepResult:
        """Take one step.

        Args:
            batch: At least one clip: ``video`` uint8 (B, C, T, H, W) and ``label`` (B,).
            num_clips: Clips of all ranks in this step.
            world_size: Number of ranks, over which the gradients are averaged.
        """
        video = batch["video"].to(self.device, non_blocking=True)
        label = batch["label"].to(self.device, non_blocking=True)
        self.optimizer.zero_grad(set_to_none=True)
        # Ranks average gradients; the mean over all clips needs their sum over num_clips.
        weight = world_size / num_clips
        loss = torch.zeros((), device=self.device, dtype=torch.float64)
        num_correct = torch.zeros((), device=self.device, dtype=torch.float64)
        for part, target, is_last in self._parts(video, label):
            with self._reduction(is_last):
                part_loss, part_correct = self._call(part, target)
                self.scaler.scale(part_loss * weight).backward()
            loss += part_loss.detach()
            num_correct += part_correct
        return self._apply(loss, num_correct)

    def _num_parts(self, num_clips: int) -> int:
        return math.ceil(num_clips / self._max_clips) if self._max_clips else 1

    def _parts(self, video: Tensor, label: Tensor) -> Iterator[tuple[Tensor, Tensor, bool]]:
        if self._batch_transform is not None:
            video, label = self._batch_transform(self.normalize(video), label)
        num_parts = self._num_parts(len(video))
        parts = zip(video.tensor_split(num_parts), label.tensor_split(num_parts), strict=True)
        for number, (part, target) in enumerate(parts, start=1):
            yield part, target, number == num_parts

    def _reduction(self, is_last: bool) -> contextlib.AbstractContextManager[None]:
        """Let the ranks exchange gradients with the last part only."""
        if isinstance(self.wrapped, DistributedDataParallel) and not is_last:
            return self.wrapped.no_sync()
        return contextlib.nullcontext()

    def _apply(self, loss: Tensor, num_correct: Tensor) -> StepResult:
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        grad_norm = nn.utils.get_total_norm(gradients, error_if_nonfinite=False, foreach=True)
        if self._max_norm:
            nn.utils.clip_grads_with_norm_(self._parameters, self._max_norm, grad_norm, foreach=True)
        is_finite = torch.isfinite(grad_norm)
        self._step_if(is_finite)
        # The forward pass updated the running statistics of batch norm too.
        self._statistics.restore_unless(is_finite)
        loss_scale = self.scaler.scale(self._one)
        return StepResult(loss, num_correct, grad_norm, is_finite, loss_scale)

    def _step_if(self, is_finite: Tensor) -> None:
        optimizer: Any = self.optimizer
        if self.scaler.is_enabled():
            self.scaler.step(optimizer)
            self.scaler.update()
        elif self._skips_on_device:
            # Pass the flags as GradScaler does for a fused optimiser.
            optimizer.grad_scale, optimizer.found_inf = None, (~is_finite).float()
            optimizer.step()
            del optimizer.grad_scale, optimizer.found_inf
        elif is_finite:
            optimizer.step()


class ForwardAndLoss(nn.Module):
    """Forward pass and loss of a batch, as one graph.

    Args:
        model: The network.
        normalize: Maps uint8 to float; float videos are already normalised.
        loss: Loss of each clip.
        precision: ``"off"``, ``"bf16"`` or ``"fp16"``, of the network's forward pass.
        device: Device of the network.
    """

    def __init__(
        self, model: nn.Module, normalize: nn.Module, loss: Loss, *, precision: str, device: torch.device
    ) -> None:
        super().__init__()
        self.model = model
        self.normalize = normalize
        self._dtype = _PRECISIONS[precision]
        self._device = device
        self.set_loss(loss)

    def set_loss(self, loss: Loss) -> None:
        """Set another loss."""
        # Store the loss in a tuple, so that a module is not registered as part of the network.
        self._loss = (loss.to(self._device) if isinstance(loss, nn.Module) else loss,)

    def forward(self, video: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Map a video (B, C, T, H, W) and labels to the loss sum and the number of correct clips."""
        if not video.is_floating_point():
            video = self.normalize(video)
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not None):
            logits_BK = self.model(video)
        logits_BK = logits_BK.to(torch.promote_types(logits_BK.dtype, torch.float32))
        losses_B = self._loss[0](logits_BK, target)
        if losses_B.shape != logits_BK.shape[:1]:
            raise ConfigError(
                f"MODEL.LOSS_FUNC must give one number for each of {len(logits_BK)} clips, got shape "
                f"{tuple(losses_B.shape)}. Remove its mean or sum."
            )
        return losses_B.sum(), count_right(logits_BK, target)


def count_right(logits_BK: Tensor, target: Tensor) -> Tensor:
    """Count the clips whose top-1 class is a label, or the largest part of a mixed label."""
    top_B = logits_BK.argmax(dim=1)
    if target.ndim == 1:
        return (top_B == target).sum()
    share_B, largest_B = target.gather(1, top_B[:, None])[:, 0], target.amax(dim=1)
    return ((share_B == largest_B) & (share_B > 0)).sum()


class _Statistics:
    """The running statistics of a network after the last applied step."""

    def __init__(self, model: nn.Module) -> None:
        self._buffers = [b for b in model.buffers() if b.is_floating_point()]
        self.keep()

    def keep(self) -> None:
        """Save the current statistics."""
        self._kept = self._joined()
        parts = self._kept.split([b.numel() for b in self._buffers])
        self._parts = [part.view_as(b) for part, b in zip(parts, self._buffers, strict=True)]

    def _joined(self) -> Tensor:
        return torch.cat([b.detach().flatten() for b in self._buffers] or [torch.empty(0)])

    @torch.no_grad()
    def restore_unless(self, is_finite: Tensor) -> None:
        """Save the current statistics, or restore the saved ones, on the device without waiting."""
        if self._buffers:
            torch.where(is_finite, self._joined(), self._kept, out=self._kept)
            torch._foreach_copy_(self._buffers, self._parts)


def _create_momentum(optimizer: Optimizer) -> None:
    """Let SGD's momentum begin at zero.

    If the first step were skipped, the fused SGD would use uninitialised memory as momentum.
    """
    if isinstance(optimizer, torch.optim.SGD):
        for group in optimizer.param_groups:
            for parameter in group["params"] if group["momentum"] else []:
                optimizer.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
