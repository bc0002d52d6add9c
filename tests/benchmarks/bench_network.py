"""TSM-R50 against the plain ResNet-50, MMAction2's and mit-han-lab's: forward, optimised inference, training.

    python tests/benchmarks/bench_network.py [--threads 1] [--mit CHECKOUT] [--compile] [--write]

All have the same weights and get the same clip. First their scores are compared, on a GPU without TF32, and
for training the gradient of the first convolution; a difference ends the run. Then they take turns in random
order, with TF32 where PyTorch uses it, as it does by default for convolutions. Peers run as they come:
float32, eager, NCHW. On a CPU there are two processes: one as a library's user has it, and one that keeps its
freed memory, as this project's tools do (``tsn_tsm_plugin.keep_freed_memory``). Wall time is taken. With
``--threads 1`` it is the process's own time, which waiting for other processes does not lengthen.
"""

import argparse
import copy
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path

import peers
import torch
from measuring import (
    clock_of,
    command_line,
    float32_name,
    hardware_name,
    hardware_tag,
    synchronize,
    write_note,
)
from processes import Partner, partner
from support.tf32 import without_tf32
from torch import Tensor, nn
from torch.nn import functional as F

from tsn_tsm_plugin import create_tsm, create_tsn, keep_freed_memory, optimize_for_inference

PLAIN = "plain ResNet-50"
TSN, TSM = "tsn_tsm_plugin, TSN", "tsn_tsm_plugin, TSM"
NUM_SEGMENTS, NUM_CLASSES = 8, 400
PACKAGES = ("torch", "torchvision", "mmaction2", "mmcv-lite", "mmengine")
TOLERANCE = 1e-4  # of the standard deviation
BF16_TOLERANCE = 0.1
NUM_WARM = 2

Ways = dict[str, Callable[[], object]]
Times = Mapping[str, list[float]]


def create_networks(checkout: Path, device: torch.device) -> tuple[dict[str, nn.Module], list[str]]:
    """Return networks with the same weights by name, and who is absent and why."""
    options = {"num_segments": NUM_SEGMENTS, "num_classes": NUM_CLASSES}
    torch.manual_seed(0)
    ours = create_tsm(dropout_rate=0.0, **options)
    tsn = create_tsn(dropout_rate=0.0, **options)
    networks: dict[str, nn.Module] = {PLAIN: peers.plain(**options), TSN: tsn, TSM: ours}
    absent = []
    for name, create in [
        ("MMAction2", lambda: peers.mmaction2(**options)),
        ("mit-han-lab", lambda: peers.mit(checkout, **options)),
    ]:
        try:
            networks[name] = create()
        except ImportError as error:
            absent.append(f"{name}: {error}")
    peers.give_statistics_(ours)
    for network in networks.values():
        share_weights(ours, network)
    return {name: network.to(device) for name, network in networks.items()}, absent


@torch.no_grad()
def share_weights(ours: nn.Module, peer: nn.Module) -> None:
    """Copy our weights into a peer: all list them in the order of torchvision's ResNet."""
    for own, theirs in zip(ours.state_dict().values(), peer.state_dict().values(), strict=True):
        theirs.copy_(own)


def deviation(scores: Tensor, expected: Tensor) -> float:
    """Return the largest difference in units of the standard deviation."""
    return float((scores - expected).abs().max() / expected.std())


@torch.no_grad()
def inference_ways(
    networks: dict[str, nn.Module], args: argparse.Namespace, device: torch.device
) -> tuple[Ways, dict[str, float]]:
    """Return forward passes, and how far each one's scores are from ours."""
    evaluated = {name: network.eval() for name, network in networks.items()}
    ours = evaluated[TSM]
    evaluated[f"{TSM}, optimised, float32"] = optimize_for_inference(ours)
    evaluated[f"{TSM}, optimised, bf16"] = optimize_for_inference(ours, dtype=torch.bfloat16)
    if args.compile:
        evaluated[f"{TSM}, optimised, bf16, compiled"] = optimize_for_inference(
            ours, dtype=torch.bfloat16, compile=True
        )
    clip = torch.randn(args.batch, 3, NUM_SEGMENTS, args.size, args.size, device=device)
    with without_tf32():
        expected = {name: ours(clip) for name in evaluated} | {
            name: evaluated[PLAIN](clip) for name in (PLAIN, TSN)
        }
        deviations = {name: deviation(network(clip), expected[name]) for name, network in evaluated.items()}
    refuse_differences(deviations)
    forward = torch.no_grad()(lambda network: network(clip))
    return {
        name: (lambda network=network: forward(network)) for name, network in evaluated.items()
    }, deviations


def training_ways(
    networks: dict[str, nn.Module], args: argparse.Namespace, device: torch.device
) -> tuple[Ways, dict[str, float]]:
    """Return training steps, and how far each one's first gradient is from ours."""
    networks = {name: network.train() for name, network in networks.items() if name != TSN}
    gradients = {name: first_gradient(network) for name, network in networks.items() if name != PLAIN}
    deviations = {name: deviation(grad, gradients[TSM]) for name, grad in gradients.items()}
    refuse_differences(deviations)
    clip = torch.randn(args.train_batch, 3, NUM_SEGMENTS, args.size, args.size, device=device)
    labels = torch.arange(args.train_batch, device=device)
    steps = {name: training_step(network, clip, labels) for name, network in networks.items()}
    steps[f"{TSM}, bf16 autocast"] = training_step(networks[TSM], clip, labels, dtype=torch.bfloat16)
    return steps, deviations


def first_gradient(network: nn.Module) -> Tensor:
    """Return the gradient of the first convolution, in float64, because rounding grows over 50 layers."""
    network = copy.deepcopy(network).double()
    generator = torch.Generator().manual_seed(0)
    clip = torch.randn(2, 3, NUM_SEGMENTS, 64, 64, dtype=torch.float64, generator=generator)
    first = next(network.parameters())
    F.cross_entropy(network(clip.to(first.device)), torch.arange(2, device=first.device)).backward()
    assert first.grad is not None
    return first.grad


def training_step(
    network: nn.Module, clip: Tensor, labels: Tensor, *, dtype: torch.dtype | None = None
) -> Callable[[], None]:
    """Return a call that does one step: forward, backward, SGD with momentum."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-5, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(clip.device.type, dtype, enabled=dtype is not None):
            loss = F.cross_entropy(network(clip), labels)
        loss.backward()
        optimizer.step()

    return step


def refuse_differences(deviations: dict[str, float]) -> None:
    """End the run if something does not compute the same."""
    for name, value in deviations.items():
        allowed = BF16_TOLERANCE if "bf16" in name else TOLERANCE
        if not value <= allowed:
            raise SystemExit(
                f"{name} differs from the TSM by {value:.1e} of the deviation, allowed {allowed}"
            )


def serve(pipe: Connection, args: argparse.Namespace, is_kept: bool) -> None:
    """Be the process that holds the networks: run what is asked for, answer its seconds."""
    if is_kept and not keep_freed_memory():
        pipe.send("this allocator has no such setting")
        return
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks, absent = create_networks(args.mit, device)
    pipe.send(absent)
    makers = {"inference": inference_ways, "training": training_ways}
    clock, _ = clock_of(device, num_threads=torch.get_num_threads())
    ways: Ways = {}
    while (request := pipe.recv()) is not None:
        if request in makers:
            ways, deviations = makers[request](networks, args, device)
            pipe.send(deviations)
            continue
        synchronize(device)
        begun = clock()
        ways[request]()
        synchronize(device)
        pipe.send(clock() - begun)


def measure(
    processes: Mapping[str, Partner], what: str, *, num_runs: int
) -> tuple[dict[str, dict[str, list[float]]], dict[str, float]]:
    """Return seconds of every way in every process, all in random order in every round, and deviations."""
    deviations: dict[str, float] = {}
    for process in processes.values():
        deviations = process.ask(what)
    names = [*deviations, *([PLAIN] if PLAIN not in deviations else [])]
    if what == "training":
        names.append(f"{TSM}, bf16 autocast")
    times: dict[str, dict[str, list[float]]] = {where: {name: [] for name in names} for where in processes}
    turns = [(where, name) for where in processes for name in names]
    for round_number in range(NUM_WARM + num_runs):
        for where, name in random.sample(turns, len(turns)):
            seconds = processes[where].ask(name)
            if round_number >= NUM_WARM:
                times[where][name].append(seconds)
    return times, deviations


def tables(times: Mapping[str, Times], deviations: dict[str, float]) -> list[str]:
    """Return a table per process: medians, and medians of ratios within one round."""
    lines = []
    for where, own in times.items():
        rivals = [name for name in own if name in ("MMAction2", "mit-han-lab")]
        heads = ["ms", f"/ {PLAIN}", *(f"faster than {rival}" for rival in rivals)]
        if where != "as it comes":
            heads += [f"than {rival} as it comes" for rival in rivals]
        lines += ["", f"Memory {where}:", "", f"| | {' | '.join([*heads, 'difference'])} |"]
        lines.append(f"| --- |{' ---: |' * (len(heads) + 1)}")
        for name, seconds in own.items():
            cells = [f"{1000 * statistics.median(seconds):.0f}", f"{ratio(seconds, own[PLAIN]):.3f}"]
            cells += [f"{ratio(own[rival], seconds):.2f} x" for rival in rivals]
            if where != "as it comes":
                cells += [f"{ratio(times['as it comes'][rival], seconds):.2f} x" for rival in rivals]
            cells.append(f"{deviations[name]:.0e}" if name in deviations else "")
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def ratio(first: list[float], second: list[float]) -> float:
    """Return the median ratio of runs that were neighbours in time."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def report(args: argparse.Namespace) -> str:
    """Measure, and return the figures as a Markdown note."""
    load = os.getloadavg()[0]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    num_threads = args.threads or torch.get_num_threads()
    with ExitStack() as stack:
        processes = {"as it comes": stack.enter_context(partner(serve, args, False))}
        absent = processes["as it comes"].answer()
        # On a GPU it would take its share of the memory, and measure nothing else.
        if device.type == "cpu":
            kept = stack.enter_context(partner(serve, args, True))
            if isinstance(kept.answer(), list):
                processes["kept"] = kept
        inference = tables(*measure(processes, "inference", num_runs=args.runs))
        training = (
            tables(*measure(processes, "training", num_runs=args.train_runs)) if args.train_runs else []
        )
    _, clock = clock_of(device, num_threads=num_threads)
    head = f"Training step (forward, backward, SGD), {args.train_batch} clips:"
    return "\n".join(
        [
            f"# TSM-R50, {hardware_name(device)}",
            "",
            f"{time.strftime('%Y-%m-%d')}, {peers.versions_of(PACKAGES)}, {float32_name(device)}, "
            f"{num_threads} threads of {os.cpu_count()} cores, load {load:.1f}; `{command_line()}`",
            "",
            f"Milliseconds of {clock}, medians of {args.runs} and {args.train_runs} rounds in which all take "
            "turns; ratios are medians over the rounds. *Memory kept* is a process after "
            "`keep_freed_memory()`, as the tools run; *as it comes*, one without. *Difference*: the largest "
            "from the TSM (for the TSN from the plain network), of scores or of the first convolution's "
            "gradient, in units of its standard deviation; without TF32, in which times may be taken.",
            *(["", "Absent: " + "; ".join(absent) + "."] if absent else []),
            *(["", "No GPU: its figures are missing."] if device.type == "cpu" else []),
            "",
            f"Forward, {args.batch} x {NUM_SEGMENTS} x {args.size} x {args.size}:",
            *inference,
            *(["", head] if training else []),
            *training,
            "",
        ]
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mit", type=Path, default=Path("temporal-shift-module"), help="mit-han-lab's clone")
    parser.add_argument("--batch", type=int, default=1, help="clips of a forward pass")
    parser.add_argument("--train-batch", type=int, default=2, help="clips of a training step")
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--train-runs", type=int, default=7, help="0: no training")
    parser.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which takes minutes")
    parser.add_argument("--write", action="store_true", help="also write a note into results/")
    args = parser.parse_args()
    note = report(args)
    print(note, end="")
    if args.write:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        tag = hardware_tag(device, num_threads=args.threads or torch.get_num_threads())
        write_note(note, subject="network", hardware=tag)


if __name__ == "__main__":
    main()
