"""benchmark_network, benchmark_loader: measure the speed of a recipe's network and data on this machine."""

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.data.build import build_loader
from tsn_tsm_plugin.data.loader_watch import watched_batches
from tsn_tsm_plugin.engine.device import describe_device
from tsn_tsm_plugin.engine.resume import with_fitting_batches
from tsn_tsm_plugin.engine.setup import build_training
from tsn_tsm_plugin.errors import VideoError, first_line
from tsn_tsm_plugin.models.deploy.export import plan_clip_export, trace
from tsn_tsm_plugin.models.deploy.optimize_for_inference import optimize_for_inference

VARIANTS = ("float32", "optimized", "bf16", "compiled", "exported")
_WARM_UP, _LEAST_CALLS = 2, 3
_MIB = 2**20


@dataclass(frozen=True)
class NetworkSpeed:
    """Speed of one variant of a network.

    Attributes:
        variant: One of ``VARIANTS``.
        latency_ms: Median time of one clip, in milliseconds.
        clips_per_second: Throughput of a whole batch.
        memory_mib: Peak memory of the device, or of this process on a CPU; ``nan`` if unknown.
        note: Reason for missing numbers; empty otherwise.
    """

    variant: str
    latency_ms: float = math.nan
    clips_per_second: float = math.nan
    memory_mib: float = math.nan
    note: str = ""


@dataclass(frozen=True)
class LoaderSpeed:
    """Speed of a loader, and of training steps on its batches.

    Attributes:
        num_workers: Number of measured workers; 0 is the training process itself.
        clips_per_second: Clips per second of all workers together.
        train_clips_per_second: Clips per second of training steps on batches in memory.
        device: Device of the training steps.
    """

    num_workers: int
    clips_per_second: float
    train_clips_per_second: float
    device: str

    @property
    def per_worker(self) -> float:
        """Clips per second of one worker."""
        return self.clips_per_second / max(self.num_workers, 1)

    @property
    def workers_needed(self) -> int:
        """Number of workers that keep the device busy, with one core per worker."""
        return max(1, math.ceil(self.train_clips_per_second / self.per_worker))


def benchmark_network(
    model: nn.Module,
    *,
    num_frames: int,
    size: int,
    batch_size: int = 8,
    seconds: float = 3.0,
    variants: tuple[str, ...] = VARIANTS,
) -> Iterator[NetworkSpeed]:
    """Measure variants of a network one by one; a variant that fails on this machine has a note.

    Args:
        model: TSN or TSM in eval mode, on the device to measure.
        num_frames: Frames of a clip, T.
        size: Height and width, in pixels.
        batch_size: Clips of the batch for the throughput.
        seconds: Time of each of the two measurements of a variant.
        variants: Names from ``VARIANTS``.
    """
    device = next(model.parameters()).device
    channels = getattr(model, "in_channels", 3)
    video = torch.rand(batch_size, channels, num_frames, size, size, device=device)
    for variant in variants:
        try:
            _reset_peak(device)
            network = _variant(model, variant, num_frames=num_frames, size=size)
            latency = _seconds_per_call(network, video[:1], seconds)
            throughput = batch_size / _seconds_per_call(network, video, seconds)
        except (RuntimeError, ImportError, ValueError, NotImplementedError) as error:
            yield NetworkSpeed(variant, note=first_line(error)[:100])
            continue
        yield NetworkSpeed(variant, 1000.0 * latency, throughput, _peak_mib(device))


def _variant(model: nn.Module, name: str, *, num_frames: int, size: int) -> Callable[[Tensor], Tensor]:
    if name == "float32":
        return model
    if name == "exported":
        plan = plan_clip_export(model, num_frames=num_frames, size=size)
        device = next(model.parameters()).device
        return trace(plan).module().to(device)
    example = torch.empty(1, getattr(model, "in_channels", 3), num_frames, size, size)
    dtype = torch.bfloat16 if name == "bf16" else None
    network = optimize_for_inference(model, dtype=dtype, compile=name == "compiled", example=example)
    if name == "compiled" and type(network) is type(model):
        raise RuntimeError("torch.compile does not work here; see the warning")
    return network


def _seconds_per_call(network: Callable[[Tensor], Tensor], video: Tensor, seconds: float) -> float:
    """Return the median time of a call, in seconds."""
    times: list[float] = []
    with torch.inference_mode():
        for _ in range(_WARM_UP):
            network(video)
        _synchronize(video.device)
        end = time.perf_counter() + seconds
        while len(times) < _LEAST_CALLS or time.perf_counter() < end:
            begun = time.perf_counter()
            network(video)
            _synchronize(video.device)
            times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        # Linux: writing 5 resets the peak of the resident memory.
        descriptor = os.open("/proc/self/clear_refs", os.O_WRONLY)
    except OSError:
        return
    os.write(descriptor, b"5")
    os.close(descriptor)


def _peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MIB
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return math.nan
    peak = next((line.split()[1] for line in lines if line.startswith("VmHWM")), "nan")
    return float(peak) * 1024 / _MIB


def benchmark_loader(cfg: CfgNode, *, num_workers: int, seconds: float = 10.0) -> LoaderSpeed:
    """Measure the training loader of a recipe, and training steps on its batches.

    Args:
        cfg: The recipe; no run folder is written.
        num_workers: Workers of the loader; 0 reads in this process.
        seconds: Time of each of the two measurements, without the start of the workers.

    Raises:
        VideoError: If no video can be read.
    """
    cfg = with_fitting_batches(cfg, None, world_size=1).changed({"DATA_LOADER.NUM_WORKERS": num_workers})
    batch, loading = _loading_speed(cfg, seconds)
    setup = build_training(cfg, with_initial_weights=False)
    setup.frozen.set_train_mode()
    step, num_clips = setup.optimizer_step, len(batch["video"])
    times: list[float] = []
    end = math.inf
    while len(times) < _LEAST_CALLS or time.perf_counter() < end:
        begun = time.perf_counter()
        step(batch, num_clips=num_clips)
        _synchronize(step.device)
        times.append(time.perf_counter() - begun)
        end = min(end, time.perf_counter() + seconds)
    training = num_clips / statistics.median(times[1:])
    return LoaderSpeed(num_workers, loading, training, describe_device(step.device))


def _loading_speed(cfg: CfgNode, seconds: float) -> tuple[dict, float]:
    """Return the largest batch, and the clips per second after the first batch of each worker."""
    loader = build_loader(cfg, "train")
    kept: dict = {}
    num_clips, num_seen, begun, ended = 0, 0, math.inf, math.nan
    epoch = 0
    while True:
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        epoch += 1
        for batch in watched_batches(loader, max_wait_seconds=cfg.DATA_LOADER.MAX_WAIT_SECONDS):
            ended = time.perf_counter()
            if len(batch["video"]) > len(kept.get("video", ())):
                kept = batch
            num_seen += 1
            if num_seen <= max(cfg.DATA_LOADER.NUM_WORKERS, 1):
                begun = ended  # Skip the batches that were read while the workers started.
                continue
            num_clips += len(batch["video"])
            if ended - begun > seconds:
                break
        if not kept:
            raise VideoError("None of the training videos could be read; tsn-tsm-train names them.")
        if num_clips and (ended - begun > seconds or epoch > 1000):
            return kept, num_clips / (ended - begun)
