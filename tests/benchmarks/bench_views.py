"""Time that two options of reading save: views read together, and scaling in the decoder.

    python tests/benchmarks/bench_views.py [--rounds 9] [--write]

Ways to read the ten dense views of a test take turns; then ways to scale eight frames to short side 256 do.
CPU time, one thread. The frames of views must be equal to the byte; the difference of scaled pixels is
reported.
"""

import argparse
import functools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import peers
import torch
from measuring import command_line, cpu_name, interleave, write_note
from torch import Tensor

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from clips import SIZES, X264_DEFAULT, decoded  # noqa: E402
from support.videos import write_video  # noqa: E402

from tsn_tsm_plugin.data.reader import VideoReader  # noqa: E402
from tsn_tsm_plugin.transforms import ShortSideScale, dense_indices, segment_indices  # noqa: E402

SOURCE = REPOSITORY.parent / "shared/videos/arm_wrestling.mp4"
NUM_SEGMENTS, NUM_VIEWS, SHORT_SIDE = 8, 10, 256

Ways = dict[str, Callable[[], Tensor]]


def read_views(path: str, *, together: bool) -> Tensor:
    """Read the dense views of a clip, with one call or with one for each."""
    with VideoReader(path) as reader:
        indices = dense_indices(reader.num_frames, NUM_SEGMENTS, mode="test", num_positions=NUM_VIEWS)
        if together:
            return reader.read(indices)
        return torch.cat([reader.read(view) for view in indices.view(NUM_VIEWS, NUM_SEGMENTS)])


def read_scaled(path: str, *, exact: bool = True, in_decoder: bool = False) -> Tensor:
    """Read segment centres scaled to the short side."""
    with VideoReader(path, short_side=SHORT_SIDE if in_decoder else 0) as reader:
        frames_TCHW = reader.read(segment_indices(reader.num_frames, NUM_SEGMENTS, mode="test"))
    if in_decoder:
        return frames_TCHW
    return ShortSideScale(SHORT_SIDE, exact=exact)(frames_TCHW.transpose(0, 1)).transpose(0, 1)


def milliseconds(ways: Ways, num_rounds: int) -> dict[str, float]:
    """Return the median of each way."""
    times = interleave(ways, num_runs=num_rounds, device=torch.device("cpu"), num_warm=1)
    return {name: 1e3 * statistics.median(seconds) for name, seconds in times.items()}


def views_table(label: str, path: str, num_rounds: int) -> list[str]:
    """Compare ways to read repeated views."""
    read = functools.partial(read_views, path)
    ways: Ways = {
        "one by one": lambda: read(together=False),
        "all in one read, as our datasets do": lambda: read(together=True),
    }
    expected = ways["one by one"]()
    if not all(torch.equal(way(), expected) for way in ways.values()):
        raise SystemExit(f"{path}: ways to read the views give other frames")
    medians = milliseconds(ways, num_rounds)
    slowest = medians["one by one"]
    rows = [f"| {label} | {name} | {ms:.1f} | {slowest / ms:.2f} x |" for name, ms in medians.items()]
    print("\n".join(rows), flush=True)
    return rows


def scaling_table(label: str, path: str, num_rounds: int) -> list[str]:
    """Compare ways to scale."""
    ways: Ways = {
        "exact, as in testing": lambda: read_scaled(path),
        "torch's, as in training": lambda: read_scaled(path, exact=False),
        "in the decoder": lambda: read_scaled(path, in_decoder=True),
    }
    expected = ways["exact, as in testing"]().int()
    rows = []
    for name, ms in milliseconds(ways, num_rounds).items():
        apart = ways[name]().int() - expected
        levels = f"{apart.abs().float().mean():.2f} | {apart.float().mean():+.2f} | {apart.abs().max()}"
        rows.append(f"| {label} | {name} | {ms:.1f} | {levels} |")
    print("\n".join(rows), flush=True)
    return rows


def report(args: argparse.Namespace) -> str:
    """Measure, and return the figures as a Markdown note."""
    load = os.getloadavg()[0]
    views: list[str] = []
    scaling: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for label, size in SIZES.items():
            frames, rate = decoded(SOURCE, size)
            path = str(write_video(Path(folder) / f"{size[1]}.mp4", frames, fps=rate, **X264_DEFAULT))
            views += views_table(label, path, args.rounds)
            if label != "340x256":  # It has that short side already.
                scaling += scaling_table(label, path, args.rounds)
    return "\n".join(
        [
            f"# Views and scaling, {cpu_name()}",
            "",
            f"{time.strftime('%Y-%m-%d')}, {peers.versions_of(('av', 'torch'))}, one thread of "
            f"{os.cpu_count()} cores, load {load:.1f} before; `{command_line()}`",
            "",
            f"Milliseconds of CPU time, medians of {args.rounds} interleaved rounds; a 10 s clip as x264 "
            "writes it by default.",
            "",
            f"{NUM_VIEWS} dense views of {NUM_SEGMENTS} frames, equal to the byte:",
            "",
            "| clip | views | ms | faster |",
            "| --- | --- | ---: | ---: |",
            *views,
            "",
            f"{NUM_SEGMENTS} frames scaled to short side {SHORT_SIDE}, and how many levels their pixels are "
            "from the exact ones:",
            "",
            "| clip | resize | ms | apart, mean | brighter | most |",
            "| --- | --- | ---: | ---: | ---: | ---: |",
            *scaling,
            "",
        ]
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true", help="also write a note into results/")
    args = parser.parse_args()
    torch.set_num_threads(1)
    note = report(args)
    print("\n" + note, end="")
    if args.write:
        write_note(note, subject="views", hardware="cpu1")


if __name__ == "__main__":
    main()
