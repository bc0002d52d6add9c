"""Cost of a frame of a stream: online TSM, the plain 2D network, and a window computed anew.

    python tests/benchmarks/bench_streaming.py [--backbones resnet50 mobilenet_v2] [--threads 2] [--write]

The runs are interleaved, so that other load hits all alike; medians, and ratios of neighbouring runs. With
one thread on a CPU the process's own time is taken, which waiting for other processes does not lengthen.
First the scores of the stream are compared with the batched network's, on a GPU without TF32. Times use TF32
if PyTorch does, which is the default for convolutions.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from measuring import (
    clock_of,
    command_line,
    float32_name,
    hardware_name,
    hardware_tag,
    interleave,
    write_note,
)
from support.tf32 import without_tf32

from tsn_tsm_plugin import StreamingTSM, create_tsm, create_tsn

NUM_SEGMENTS = 8
SIZE = 224


def bench(backbone: str, *, num_runs: int, device: torch.device) -> dict[str, float]:
    """Return milliseconds per frame, ratios and memory of one backbone."""
    torch.manual_seed(0)
    model = create_tsm(backbone=backbone, num_segments=NUM_SEGMENTS, causal=True).eval().to(device)
    plain = create_tsn(backbone=backbone).eval().to(device)
    stream = StreamingTSM(model)
    frame = torch.randn(1, 3, SIZE, SIZE, device=device)
    window = torch.randn(1, 3, NUM_SEGMENTS, SIZE, SIZE, device=device)
    check(model, stream, window)
    ways: dict[str, Callable[[], object]] = {
        "plain": lambda: plain(frame[:, :, None]),
        "stream": lambda: stream(frame),
        "window": lambda: model(window),
    }
    with torch.no_grad():
        times = interleave(ways, num_runs=num_runs, device=device)
    state = sum(value.numel() * value.element_size() for value in stream.state.values())
    ratios = {way: [a / b for a, b in zip(times["stream"], times[way], strict=True)] for way in ways}
    return {
        **{f"{way}_ms": 1000 * statistics.median(values) for way, values in times.items()},
        "stream_to_plain": statistics.median(ratios["plain"]),
        "window_to_stream": 1 / statistics.median(ratios["window"]),
        "fastest_stream_to_plain": min(times["stream"]) / min(times["plain"]),
        "state_kib": state / 1024,
        "window_kib": window.numel() * window.element_size() / 1024,
    }


def check(model: torch.nn.Module, stream: StreamingTSM, window: torch.Tensor) -> None:
    """Refuse to time what does not compute the same."""
    with torch.no_grad(), without_tf32():
        expected = model(window)
        scores = torch.stack([stream(window[:, :, t]) for t in range(window.shape[2])]).mean(0)
    deviation = float((scores - expected).abs().max() / expected.std())
    if deviation > 1e-3:
        raise SystemExit(f"the stream differs from the network by {deviation:.1e} of its scores' deviation")
    stream.reset()


def report(results: dict[str, dict[str, float]], device: torch.device) -> str:
    """Return the results as a Markdown note."""
    name = hardware_name(device)
    _, clock = clock_of(device, num_threads=torch.get_num_threads())
    lines = [
        f"# Streaming, {name}",
        "",
        f"{time.strftime('%Y-%m-%d')}, torch {torch.__version__}, {float32_name(device)}, batch 1, "
        f"{SIZE} x {SIZE}, {torch.get_num_threads()} threads; `{command_line()}`",
        "",
        f"One frame of a stream, in milliseconds of {clock} (medians of interleaved runs). *plain*: the 2D "
        f"network without a shift. *window*: the causal TSM on the last {NUM_SEGMENTS} frames. Ratios are "
        "medians over neighbouring runs; *best* compares the fastest runs.",
        "",
        "| backbone | plain | stream | window | stream / plain | best | window / stream | state | window |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for backbone, row in results.items():
        lines.append(
            f"| {backbone} | {row['plain_ms']:.1f} | {row['stream_ms']:.1f} | {row['window_ms']:.1f} | "
            f"{row['stream_to_plain']:.3f} | {row['fastest_stream_to_plain']:.3f} | "
            f"{row['window_to_stream']:.2f} | {row['state_kib']:.0f} KiB | {row['window_kib']:.0f} KiB |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", default=["resnet50", "mobilenet_v2"])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    parser.add_argument("--write", action="store_true", help="also write a note into results/")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results = {name: bench(name, num_runs=args.runs, device=device) for name in args.backbones}
    note = report(results, device)
    print(note, end="")
    if args.write:
        tag = hardware_tag(device, num_threads=torch.get_num_threads())
        write_note(note, subject="streaming", hardware=tag)


if __name__ == "__main__":
    main()
