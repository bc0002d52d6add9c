"""Run every benchmark of this folder that the machine can run, one after the other.

    python tests/benchmarks/bench_all.py [--threads 1] [--weights RUN] [--mit CHECKOUT] [--quick | --write]

Each benchmark has its own process. The last lines report which ran, failed or could not run, and why. The
exit code is 1 if a benchmark failed. `--write` keeps the notes; `--quick` only checks that all work, in a few
minutes.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

FOLDER = Path(__file__).resolve().parent
VIDEO = FOLDER.parents[2] / "shared/videos/arm_wrestling.mp4"


# Options that shorten each benchmark to seconds: it works, but its figures mean little.
QUICK: dict[str, list[str]] = {
    "bench_codecs.py": ["--quick", "--rounds", "1"],
    "bench_loading.py": ["--workers", "1", "--epochs", "1"],
    "bench_network.py": ["--size", "64", "--runs", "2", "--train-runs", "2"],
    "bench_reading.py": ["--rounds", "1", "--reads", "100"],
    "bench_scaling.py": ["--ranks", "1", "2", "--backbone", "resnet18", "--size", "32", "--runs", "2"],
    "bench_streaming.py": ["--backbones", "mobilenet_v2", "--runs", "3"],
    "bench_training.py": ["--backbone", "resnet18", "--batch", "4", "--size", "32", "--steps", "2"],
    "bench_views.py": ["--rounds", "1"],
}


def arguments_of(name: str, args: argparse.Namespace) -> list[str] | str:
    """Return the arguments for a benchmark, or why it cannot be run here."""
    threads = ["--threads", str(args.threads)]
    write = ["--write"] if args.write else []
    quick = QUICK.get(name, []) if args.quick else []
    if name == "bench_network.py":
        return [*threads, *write, "--mit", args.mit, *quick]
    if name == "bench_memory.py":
        return [*write, "--mit", args.mit]
    if name in ("bench_streaming.py", "bench_scaling.py"):
        return [*threads, *write, *quick]
    if name == "bench_training.py":
        # A laptop's processor needs minutes for the sixteen clips of 224 pixels that it measures by default.
        small = [] if args.has_gpu else ["--batch", "4", "--size", "112"]
        return [*threads, *write, *(quick or small)]
    if name == "bench_export.py":
        return ["--weights", args.weights] if args.weights else "needs a trained network: give --weights"
    if name in ("bench_codecs.py", "bench_loading.py", "bench_reading.py", "bench_views.py"):
        if not args.video.is_file():
            return f"needs the video {args.video.name} beside the checkout, in shared/videos"
        takes_video = name in ("bench_codecs.py", "bench_reading.py")
        videos = [str(args.video)] if takes_video and args.video != VIDEO else []
        return [*videos, *write, *quick]
    return []


def run_all(folder: Path, args: argparse.Namespace) -> dict[str, str]:
    """Return what became of each benchmark of a folder."""
    outcomes = {}
    for script in sorted(folder.glob("bench_*.py")):
        if script.name == Path(__file__).name:
            continue
        arguments = arguments_of(script.name, args)
        if isinstance(arguments, str):
            outcomes[script.name] = f"not run: {arguments}"
            continue
        print(f"\n== {script.name} {' '.join(arguments)}", flush=True)
        begun = time.perf_counter()
        code = subprocess.run([sys.executable, str(script), *arguments], check=False).returncode
        verdict = "ran" if code == 0 else f"failed with exit code {code}"
        outcomes[script.name] = f"{verdict} in {time.perf_counter() - begun:.0f} s"
    return outcomes


def main(argv: Sequence[str] | None = None, *, folder: Path = FOLDER) -> int:
    """Run the benchmarks and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", default="", help="run folder of a trained network, for bench_export.py")
    parser.add_argument("--mit", default="temporal-shift-module", help="mit-han-lab's clone")
    parser.add_argument("--video", type=Path, default=VIDEO, help="for bench_reading.py")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--quick", action="store_true", help="small sizes and few runs, whose figures mean little"
    )
    length.add_argument("--write", action="store_true", help="keep the notes")
    args = parser.parse_args(argv)
    args.has_gpu = torch.cuda.is_available()
    outcomes = run_all(folder, args)
    print()
    for name, outcome in outcomes.items():
        print(f"{name:22} {outcome}")
    return int(any(outcome.startswith("failed") for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
