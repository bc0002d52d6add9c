"""TSM-R50 against the plain ResNet-50, MMAction2's and mit-han-lab's: forward, optimised inference, training.

    python tests/benchmarks/bench_network.py [--threads 1] [--mit CHECKOUT] [--compile] [--write]

All have the same weights and get the same clip. First their scores are compared, and for training the
gradient of the first convolution; a difference ends the run. Then they take turns. Peers run as they come:
float32, eager, NCHW. On a CPU the process's own time is taken, which waiting for other processes does not
lengthen; on a GPU wall time.
"""

import argparse
import copy
import importlib.metadata
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import peers
import torch
from measuring import hardware_name, interleave
from torch import Tensor, nn
from torch.nn import functional as F

from tsn_tsm_plugin import create_tsm, create_tsn, optimize_for_inference

OURS = "tsn_tsm_plugin"
PLAIN = "plain ResNet-50"
NUM_SEGMENTS, NUM_CLASSES = 8, 400
PACKAGES = ("torch", "torchvision", "mmaction2", "mmcv-lite", "mmengine")
TOLERANCE = 1e-4  # of the standard deviation
BF16_TOLERANCE = 0.1

Times = Mapping[str, list[float]]


def create_networks(checkout: Path, device: torch.device) -> tuple[dict[str, nn.Module], list[str]]:
    """Return networks with the same weights by name, and who is absent and why."""
    options = {"num_segments": NUM_SEGMENTS, "num_classes": NUM_CLASSES}
    torch.manual_seed(0)
    ours = create_tsm(dropout_rate=0.0, **options)
    plain = create_tsn(dropout_rate=0.0, **options)
    networks: dict[str, nn.Module] = {PLAIN: plain, OURS: ours}
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
    """Copy our weights into a peer: all list theirs in the order of torchvision's ResNet."""
    for own, theirs in zip(ours.state_dict().values(), peer.state_dict().values(), strict=True):
        theirs.copy_(own)


def deviation(scores: Tensor, expected: Tensor) -> float:
    """Return the largest difference in units of the standard deviation."""
    return float((scores - expected).abs().max() / expected.std())


@torch.no_grad()
def time_inference(
    networks: dict[str, nn.Module], args: argparse.Namespace, device: torch.device
) -> tuple[Times, dict[str, float]]:
    """Return seconds of the forward passes, and how far each one's scores are from ours."""
    ways = {name: network.eval() for name, network in networks.items()}
    ours = ways[OURS]
    ways[f"{OURS}, optimised, float32"] = optimize_for_inference(ours)
    ways[f"{OURS}, optimised, bf16"] = optimize_for_inference(ours, dtype=torch.bfloat16)
    if args.compile:
        ways[f"{OURS}, optimised, bf16, compiled"] = optimize_for_inference(
            ours, dtype=torch.bfloat16, compile=True
        )
    clip = torch.randn(args.batch, 3, NUM_SEGMENTS, args.size, args.size, device=device)
    expected = ours(clip)
    deviations = {name: deviation(network(clip), expected) for name, network in ways.items() if name != PLAIN}
    refuse_differences(deviations)
    calls = {name: (lambda network=network: network(clip)) for name, network in ways.items()}
    return interleave(calls, num_runs=args.runs, device=device), deviations


def time_training(
    networks: dict[str, nn.Module], args: argparse.Namespace, device: torch.device
) -> tuple[Times, dict[str, float]]:
    """Return seconds of training steps, and how far each one's first gradient is from ours."""
    networks = {name: network.train() for name, network in networks.items()}
    gradients = {name: first_gradient(network) for name, network in networks.items() if name != PLAIN}
    deviations = {name: deviation(grad, gradients[OURS]) for name, grad in gradients.items()}
    refuse_differences(deviations)
    clip = torch.randn(args.train_batch, 3, NUM_SEGMENTS, args.size, args.size, device=device)
    labels = torch.arange(args.train_batch, device=device)
    steps = {name: training_step(network, clip, labels) for name, network in networks.items()}
    steps[f"{OURS}, bf16 autocast"] = training_step(networks[OURS], clip, labels, dtype=torch.bfloat16)
    return interleave(steps, num_runs=args.train_runs, device=device, num_warm=2), deviations


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
            raise SystemExit(f"{name} differs from {OURS} by {value:.1e} of the deviation, allowed {allowed}")


def table(times: Times, deviations: dict[str, float]) -> list[str]:
    """Return rows of medians, of ratios of neighbouring runs to the plain network, and of speed-ups."""
    rivals = [name for name in times if name != PLAIN and not name.startswith(OURS)]
    heads = ["ms", f"/ {PLAIN}", *(f"faster than {rival}" for rival in rivals), "difference"]
    lines = [f"| | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    for name, seconds in times.items():
        cells = [f"{1000 * statistics.median(seconds):.0f}", f"{ratio(seconds, times[PLAIN]):.3f}"]
        cells += [f"{ratio(times[rival], seconds):.2f} x" for rival in rivals]
        cells.append(f"{deviations[name]:.0e}" if name in deviations else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def ratio(first: list[float], second: list[float]) -> float:
    """Return the median ratio of runs that were neighbours in time."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def versions() -> str:
    """Name the versions of what is measured."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} absent")
    return ", ".join(found)


def report(args: argparse.Namespace, device: torch.device) -> str:
    """Measure, and return the figures as a Markdown note."""
    networks, absent = create_networks(args.mit, device)
    load = os.getloadavg()[0]
    command = " ".join([f"python tests/benchmarks/{Path(__file__).name}", *sys.argv[1:]])
    inference = table(*time_inference(networks, args, device))
    training = table(*time_training(networks, args, device)) if args.train_runs else []
    clock = "wall time" if device.type == "cuda" else "CPU time of the process"
    gpu = [] if device.type == "cuda" else ["", "No GPU: its figures are missing."]
    return "\n".join(
        [
            f"# TSM-R50, {hardware_name(device)}",
            "",
            f"{time.strftime('%Y-%m-%d')}, {versions()}, {torch.get_num_threads()} threads of "
            f"{os.cpu_count()} cores, load {load:.1f}; `{command}`",
            "",
            f"Milliseconds of {clock}, medians of {args.runs} and {args.train_runs} interleaved runs; ratios "
            "are medians over neighbouring runs. *Difference*: the largest from ours, of scores or of the "
            "first convolution's gradient, in units of its standard deviation.",
            *(["", "Absent: " + "; ".join(absent) + "."] if absent else []),
            *gpu,
            "",
            f"Forward, {args.batch} x {NUM_SEGMENTS} x {args.size} x {args.size}:",
            "",
            *inference,
            *(
                ["", f"Training step (forward, backward, SGD), {args.train_batch} clips:", ""]
                if training
                else []
            ),
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
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    note = report(args, device)
    print(note, end="")
    if args.write:
        hardware = "cuda" if device.type == "cuda" else f"cpu{torch.get_num_threads()}"
        out = Path(__file__).parent / "results" / f"network_{hardware}_{time.strftime('%Y%m')}.md"
        out.parent.mkdir(exist_ok=True)
        out.write_text(note)


if __name__ == "__main__":
    main()
