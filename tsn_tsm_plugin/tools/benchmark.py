"""Measure a network, or the data of a recipe, on this machine.

    tsn-tsm-benchmark --weights W [--batch-size 8]        latency, throughput and memory of a network
    tsn-tsm-benchmark --loader RECIPE [--num-workers 2]   clips/s of a worker, and workers that it takes

The network is measured as it is, with folded batch norm, in bf16, compiled and exported. Nothing is written.
Close other programs first.
"""

import argparse
import sys
from collections.abc import Sequence

from tsn_tsm_plugin.config import load_cfg
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.tools.arguments import count, seconds
from tsn_tsm_plugin.tools.command import ToolParser, run_command, set_overrides
from tsn_tsm_plugin.tools.trained_command import add_weights_arguments, load_from_arguments

_VARIANTS = ("float32", "optimized", "bf16", "compiled", "exported")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = ToolParser("benchmark", __doc__)
    add_weights_arguments(parser, required=False)
    parser.add_argument("--loader", default="", metavar="RECIPE", help="recipe whose data is measured")
    parser.add_argument(
        "--variants", nargs="+", choices=_VARIANTS, default=list(_VARIANTS), help="forms (default: all)"
    )
    parser.add_argument("--batch-size", type=count(), default=8, help="clips at once")
    parser.add_argument("--num-workers", type=count(0), default=1, help="loader workers")
    parser.add_argument("--seconds", type=seconds(), default=3.0, help="time of each measurement")
    args = parser.parse_args(argv)
    return run_command(lambda: _benchmark(args), inputs=[args.weights])


def _benchmark(args: argparse.Namespace) -> None:
    if bool(args.weights) == bool(args.loader):
        raise ConfigError("give either --weights W or --loader RECIPE.")
    from tsn_tsm_plugin.log import setup_logging

    setup_logging(quiet=True)
    if args.loader:
        _loader(args)
    else:
        _network(args)


def _network(args: argparse.Namespace) -> None:
    from tabulate import tabulate

    from tsn_tsm_plugin.inference.benchmark import benchmark_network
    from tsn_tsm_plugin.transforms.build import frames_of_view

    trained = load_from_arguments(args)
    num_frames, size = frames_of_view(trained.cfg, "test"), trained.cfg.DATA.TEST_CROP_SIZE
    measured = benchmark_network(
        trained.model,
        num_frames=num_frames,
        size=size,
        batch_size=args.batch_size,
        seconds=args.seconds,
        variants=tuple(args.variants),
    )
    rows = []
    for speed in measured:
        numbers = (speed.latency_ms, speed.clips_per_second, speed.memory_mib)
        rows.append([speed.variant, *("-" if n != n else f"{n:.1f}" for n in numbers), speed.note])
    headers = ["network", "ms for 1 clip", f"clips/s of {args.batch_size}", "peak MiB", "note"]
    print(f"{trained.description}; clips of {num_frames} x {size} x {size}, on {trained.device}")
    print(tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True, stralign="right"))


def _loader(args: argparse.Namespace) -> None:
    cfg = load_cfg(args.loader, set_overrides(args))

    from tsn_tsm_plugin.inference.benchmark import benchmark_loader

    speed = benchmark_loader(cfg, num_workers=args.num_workers, seconds=args.seconds)
    print(f"loader, {speed.num_workers} worker(s): {speed.clips_per_second:.1f} clips/s")
    print(f"one worker: {speed.per_worker:.1f} clips/s")
    print(f"training steps on {speed.device}: {speed.train_clips_per_second:.1f} clips/s")
    print(f"workers that feed it: {speed.workers_needed} (DATA_LOADER.NUM_WORKERS {speed.workers_needed})")


if __name__ == "__main__":
    sys.exit(main())
