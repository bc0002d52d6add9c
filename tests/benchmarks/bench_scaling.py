"""Training on 1, 2 and 4 ranks: how much of its speed a rank keeps among others, and what takes the rest.

    python tests/benchmarks/bench_scaling.py [--ranks 1 2 4] [--backbone resnet50] [--size 112] [--threads 1]
    [--video FILE] [--write]

Every rank is a process with clips of its own, as many as one rank alone: gloo on CPUs, NCCL on GPUs, one GPU
to a rank. A step waits for its batch, as training does, and takes an update with the engine's own code. The
data time is that wait; communication is what a step with the exchange of gradients takes longer than one
without (`no_sync`), which take turns; waiting for the slower rank is in it. The engine's options for that
exchange take turns as well. A number of ranks that the machine has no cores or GPUs for is declined: ranks
that take each other's time would show a loss that is none.
"""

import argparse
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from agreement import Hops, agreement_table
from measuring import command_line, float32_name, hardware_name, hardware_tag, synchronize, write_note
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from tsn_tsm_plugin import VideoReader, create_tsm, segment_indices
from tsn_tsm_plugin.engine.ddp import data_parallel
from tsn_tsm_plugin.engine.optimizer_step import OptimizerStep
from tsn_tsm_plugin.solver import tsm_param_groups
from tsn_tsm_plugin.transforms.normalize import Normalize

NUM_SEGMENTS, NUM_WARM = 8, 2
HOPS = Hops(within=5e-6, between=20e-6)
DEFAULT, ALONE = "as by default", "without exchange"
OPTIONS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "bf16 gradients": {"gradient_compression": "bf16"},
    "static graph": {"static_graph": True},
    "buckets of 5 MiB": {"bucket_cap_mb": 5.0},
    "buckets of 100 MiB": {"bucket_cap_mb": 100.0},
    "gradients copied to buckets": {"gradient_as_bucket_view": False},
}


@dataclass
class Timing:
    """Median seconds of a step.

    Attributes:
        step: The wait for the batch and the update.
        data: The wait alone.
    """

    step: float
    data: float


class Clips(Dataset):
    """Clips without end: random pixels, or one video decoded again for each."""

    def __init__(self, args: argparse.Namespace, rank: int) -> None:
        self._video = args.video
        self._size = args.size
        self._first = rank << 40

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if self._video:
            reader = VideoReader(self._video)
            frames = reader.read(segment_indices(reader.num_frames, NUM_SEGMENTS, mode="test"))
            video = F.interpolate(frames, size=(self._size, self._size)).transpose(0, 1)
        else:
            generator = torch.Generator().manual_seed(self._first + index)
            shape = (3, NUM_SEGMENTS, self._size, self._size)
            video = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        return {"video": video, "label": torch.tensor(0)}


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def why_declined(num_ranks: int, args: argparse.Namespace, *, num_gpus: int, num_cores: int) -> str:
    """Return why a number of ranks cannot be measured here, or nothing."""
    if num_gpus and num_ranks > num_gpus:
        return f"{num_ranks} ranks want {num_ranks} GPUs, here are {num_gpus}"
    processes = 1 + args.workers if num_gpus else args.threads + args.workers
    if num_ranks * processes > num_cores:
        return (
            f"{num_ranks} ranks of {processes} busy threads want {num_ranks * processes} cores, here are "
            f"{num_cores}: their number would be false"
        )
    return ""


def measure(rank: int, num_ranks: int, store: str, args: argparse.Namespace, results: Any) -> None:
    """Time one rank's steps in every way; rank 0 puts the means over ranks into the queue ``results``."""
    torch.set_num_threads(args.threads)
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda", rank) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    backend = "nccl" if has_gpu else "gloo"
    dist.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=num_ranks)
    loader = DataLoader(Clips(args, rank), batch_size=args.batch, num_workers=args.workers)
    ways = create_ways(args, device, num_ranks)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    batches = iter(loader)
    for number in range(NUM_WARM + args.runs):
        for name, update in ways.items():
            dist.barrier()
            begun = time.perf_counter()
            batch = next(batches)
            fetched = time.perf_counter()
            update(batch)
            synchronize(device)
            if number >= NUM_WARM:
                seconds[name].append((time.perf_counter() - begun, fetched - begun))
    medians = torch.tensor(
        [[statistics.median(t) for t in zip(*seconds[name], strict=True)] for name in ways]
    )
    medians = medians.to(device)
    dist.all_reduce(medians)
    if rank == 0:
        means = (medians / num_ranks).tolist()
        results.put({name: Timing(*pair) for name, pair in zip(ways, means, strict=True)})
    dist.destroy_process_group()


def create_ways(
    args: argparse.Namespace, device: torch.device, num_ranks: int
) -> dict[str, Callable[[dict[str, Tensor]], Any]]:
    """Return calls that update one network each; a rank alone has no exchange and no options for it."""
    ways = {}
    for name, options in OPTIONS.items() if num_ranks > 1 else [(DEFAULT, {})]:
        torch.manual_seed(0)
        model = create_tsm(backbone=args.backbone, num_segments=NUM_SEGMENTS).to(device).train()
        step = create_step(model, args, device, options if num_ranks > 1 else None)
        ways[name] = update = functools.partial(step, num_clips=num_ranks * args.batch, world_size=num_ranks)
        if name == DEFAULT and isinstance(step.wrapped, DistributedDataParallel):
            ways[ALONE] = without_exchange(step.wrapped, update)
    return ways


def create_step(
    model: nn.Module, args: argparse.Namespace, device: torch.device, options: dict[str, Any] | None
) -> OptimizerStep:
    """Return what the engine does with a batch, with options of the exchange if there are other ranks."""
    return OptimizerStep(
        model,
        torch.optim.SGD(tsm_param_groups(model, weight_decay=1e-4), lr=1e-4, momentum=0.9, fused=True),
        normalize=Normalize([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]).to(device),
        device=device,
        clip_grad_l2norm=20.0,
        mixed_precision="bf16" if args.bf16 else "off",
        wrap=None if options is None else functools.partial(data_parallel, device=device, **options),
    )


def without_exchange(
    wrapped: DistributedDataParallel, update: Callable[[dict[str, Tensor]], Any]
) -> Callable[[dict[str, Tensor]], Any]:
    """Return the same update with the gradients of this rank only."""

    def alone(batch: dict[str, Tensor]) -> None:
        with wrapped.no_sync():
            update(batch)

    return alone


def run(num_ranks: int, args: argparse.Namespace) -> dict[str, Timing]:
    """Return the timings of a number of ranks."""
    results = mp.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        mp.spawn(measure, args=(num_ranks, store, args, results), nprocs=num_ranks)
    return results.get()


def scaling_table(timings: dict[int, dict[str, Timing]]) -> list[str]:
    """Return a row for each number of ranks: the step and its parts in milliseconds, and the efficiency."""
    heads = ["step", "data", "compute", "communication", "efficiency", "without communication"]
    lines = [f"| ranks | {' | '.join(heads)} |", f"| ---: |{' ---: |' * len(heads)}"]
    base = timings[1][DEFAULT]
    for num_ranks, ways in timings.items():
        step = ways[DEFAULT]
        alone = ways.get(ALONE, step)
        parts = (step.step, alone.data, alone.step - alone.data, step.step - alone.step)
        cells = [f"{1000 * part:.0f}" for part in parts]
        cells += [f"{100 * base.step / way.step:.0f} %" for way in (step, alone)]
        lines.append(f"| {num_ranks} | {' | '.join(cells)} |")
    return lines


def options_table(ways: dict[str, Timing]) -> list[str]:
    """Return a row for each option of the exchange: the step, and its ratio to the default's."""
    lines = ["| exchange | step | / default |", "| --- | ---: | ---: |"]
    for name, timing in ways.items():
        ratio = timing.step / ways[DEFAULT].step
        lines.append(f"| {name} | {1000 * timing.step:.0f} | {ratio:.3f} |")
    return lines


def report(args: argparse.Namespace) -> str:
    """Measure what can be measured here and return the figures as a Markdown note."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    load = os.getloadavg()[0]
    timings, declined = {}, []
    for num_ranks in sorted({1, *args.ranks}):
        reason = why_declined(num_ranks, args, num_gpus=torch.cuda.device_count(), num_cores=cores())
        if reason:
            declined.append(reason)
        else:
            timings[num_ranks] = run(num_ranks, args)
    if not timings:
        raise SystemExit(f"not even one rank can be measured: {declined[0]}. Give fewer --threads.")
    most = max(timings)
    options = ["", f"Options of the exchange, {most} ranks, milliseconds of a step:", ""]
    num_bytes = 4 * sum(p.numel() for p in create_tsm(backbone=args.backbone).parameters())
    precision = "bf16 autocast" if args.bf16 else float32_name(device)
    return "\n".join(
        [
            f"# Scaling, {hardware_name(device)}",
            "",
            f"{time.strftime('%Y-%m-%d')}, torch {torch.__version__}, {args.threads} threads and "
            f"{args.workers} loader workers to a rank, {cores()} cores, load {load:.1f}; "
            f"`{command_line()}`",
            "",
            f"TSM {args.backbone}, {precision}, {args.batch} clips of {NUM_SEGMENTS} x {args.size} x "
            f"{args.size} to a rank, {'decoded' if args.video else 'random'}; gradients of "
            f"{num_bytes / 1e6:.1f} MB over {'NCCL' if device.type == 'cuda' else 'gloo'}. Milliseconds of "
            f"wall time, medians of {args.runs} steps.",
            *(["", "Declined: " + "; ".join(declined) + "."] if declined else []),
            "",
            *scaling_table(timings),
            *([*options, *options_table(timings[most])] if most > 1 else []),
            "",
            f"Agreement on a step, simulated: {args.per_node} ranks to a node, "
            f"{1e6 * HOPS.within:.0f} us for a message within a node and {1e6 * HOPS.between:.0f} us between "
            "two. It travels under the step before.",
            "",
            *agreement_table(args.simulated, per_node=args.per_node, hops=HOPS),
            "",
        ]
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=112, help="pixels")
    parser.add_argument("--batch", type=int, default=2, help="clips of a step of each rank")
    parser.add_argument("--threads", type=int, default=1, help="of each rank")
    parser.add_argument("--workers", type=int, default=0, help="loader processes of each rank")
    parser.add_argument("--runs", type=int, default=9, help="timed steps of each way")
    parser.add_argument(
        "--simulated", type=int, nargs="+", default=[8, 64, 512, 1536], help="ranks that agree, simulated"
    )
    parser.add_argument("--per-node", type=int, default=8, help="simulated ranks of a node")
    parser.add_argument("--bf16", action="store_true", help="train with bf16 autocast")
    parser.add_argument(
        "--video", default="", help="decode this file for every clip instead of random pixels"
    )
    parser.add_argument("--write", action="store_true", help="also write a note into results/")
    args = parser.parse_args()
    note = report(args)
    print(note, end="")
    if args.write:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        write_note(note, subject="scaling", hardware=hardware_tag(device, num_threads=cores()))


if __name__ == "__main__":
    main()
