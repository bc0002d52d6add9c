"""Reading eight segment-centre frames from a closed file, against other readers: time, memory, leaks.

    python tests/benchmarks/bench_reading.py [VIDEO ...] [--rounds 9] [--reads 10000] [--write]

Two processes read at the same time, one thread each, as two data workers do. Without arguments they read the
10 s clip ../shared/videos/arm_wrestling.mp4, which has 4 keyframes. They also read its encodings by x264's
defaults at three sizes, and two of these after `prepare_dataset --transcode`. Frames are first compared
with a plain decode of the whole file: if ours differ the benchmark ends, and a peer whose frames differ is
not timed. Then the readers take turns. A reader that does not load is reported as absent.
"""

import argparse
import ctypes
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import BrokenBarrierError

import av
import numpy as np
import peers
import torch
from measuring import command_line, cpu_name, write_note
from processes import in_fresh_process
from torch import Tensor

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from clips import SIZES, X264_DEFAULT, decoded  # noqa: E402
from support.videos import sequential_frames, write_video  # noqa: E402

from tsn_tsm_plugin.data.preparation.convert import Transcoding  # noqa: E402
from tsn_tsm_plugin.data.reader import VideoReader  # noqa: E402
from tsn_tsm_plugin.transforms.segments import segment_indices  # noqa: E402

OURS = "tsn_tsm_plugin"
NUM_WORKERS = 2
NUM_SEGMENTS = 8
MAX_WHOLE_CLIP_BYTES = 1 << 30
"""PyTorchVideo makes float32 of every frame: larger clips do not fit into a small machine twice."""
PACKAGES = ("av", "torchcodec", "decord", "pytorchvideo", "torch")
SOURCE = REPOSITORY.parent / "shared/videos/arm_wrestling.mp4"

Reader = Callable[[str, list[int]], Tensor]
Times = dict[str, list[tuple[float, float]]]


def make_ours() -> Reader:
    def read(path: str, wanted: list[int]) -> Tensor:
        with VideoReader(path) as reader:
            return reader.read(wanted)

    return read


def make_pyav() -> Reader:
    """Decode up to the last wanted frame and convert only the wanted ones."""

    def read(path: str, wanted: list[int]) -> Tensor:
        with av.open(path) as container:
            stream = container.streams.best("video")
            assert stream is not None
            stream.codec_context.thread_count = 1
            frames = {}
            for index, frame in enumerate(container.decode(stream)):
                if index in wanted:
                    frames[index] = frame.to_ndarray(format="rgb24")
                if index == wanted[-1]:
                    break
        return torch.from_numpy(np.stack([frames[index] for index in wanted])).permute(0, 3, 1, 2)

    return read


def make_torchcodec() -> Reader:
    from torchcodec.decoders import VideoDecoder

    return lambda path, wanted: VideoDecoder(path, num_ffmpeg_threads=1).get_frames_at(wanted).data


def make_decord() -> Reader:
    import decord

    def read(path: str, wanted: list[int]) -> Tensor:
        frames_THWC = decord.VideoReader(path, num_threads=1).get_batch(wanted).asnumpy()
        return torch.from_numpy(frames_THWC).permute(0, 3, 1, 2)

    return read


def make_pytorchvideo() -> Reader:
    """Read as PyTorchVideo's datasets do: decode the clip, then subsample it in time."""
    from pytorchvideo.data.encoded_video import EncodedVideo

    def read(path: str, wanted: list[int]) -> Tensor:
        video = EncodedVideo.from_path(path, decode_audio=False)
        clip_CTHW = video.get_clip(0, video.duration)["video"]
        return torch.index_select(clip_CTHW, 1, torch.tensor(wanted)).to(torch.uint8).transpose(0, 1)

    return read


MAKERS: dict[str, Callable[[], Reader]] = {
    OURS: make_ours,
    "PyAV, sequential": make_pyav,
    "torchcodec": make_torchcodec,
    "decord": make_decord,
    "PyTorchVideo": make_pytorchvideo,
}
reader_of = cache(lambda name: MAKERS[name]())


def present() -> tuple[list[str], list[str]]:
    """Return the readers that load, and which do not and why."""
    names, absent = [], []
    for name in MAKERS:
        try:
            reader_of(name)
            names.append(name)
        except (ImportError, RuntimeError, OSError) as error:
            absent.append(f"{name} ({str(error).splitlines()[0]})")
    return names, absent


def agreeing(names: Sequence[str], path: str, wanted: list[int]) -> tuple[list[str], str]:
    """Return the readers whose frames equal a plain decode of the whole file, and why others do not count."""
    with VideoReader(path) as reader:
        num_bytes = 12 * reader.num_frames * reader.height * reader.width
    expected = sequential_frames(path)[wanted]
    kept, left_out = [], []
    for name in names:
        if name == "PyTorchVideo" and num_bytes > MAX_WHOLE_CLIP_BYTES:
            left_out.append(f"{name}: would take {num_bytes / 1e9:.0f} GB for the clip")
            continue
        try:
            is_equal = torch.equal(reader_of(name)(path, wanted), expected)
        except Exception as error:  # Readers raise errors of their own.
            if name == OURS:
                raise
            left_out.append(f"{name}: cannot read it ({type(error).__name__})")
            continue
        if is_equal:
            kept.append(name)
        elif name == OURS:
            raise SystemExit(f"{path}: ours gives other frames than a plain decode")
        else:
            left_out.append(f"{name}: gives other frames")
    return kept, "; ".join(left_out)


_start: Barrier


def begin_worker(barrier: Barrier) -> None:
    global _start
    _start = barrier
    torch.set_num_threads(1)


def _timed_read(name: str, path: str, wanted: list[int]) -> tuple[float, float]:
    """Read once, beginning when the other worker does; return wall and CPU milliseconds."""
    try:
        read = reader_of(name)
    except BaseException:
        _start.abort()  # Otherwise the other worker would wait forever.
        raise
    _start.wait()
    wall, cpu = time.perf_counter(), time.process_time()
    read(path, wanted)
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def measure(
    pool: ProcessPoolExecutor, names: Sequence[str], path: str, wanted: list[int], num_rounds: int
) -> dict[str, tuple[float, float]]:
    """Return the median wall and CPU milliseconds of each reader; the first round does not count."""
    times: Times = {name: [] for name in names}
    for round_number in range(num_rounds + 1):
        for name in names:
            results = [pool.submit(_timed_read, name, path, wanted) for _ in range(NUM_WORKERS)]
            # If a worker fails, the other one reports only a broken barrier.
            errors = [error for result in results if (error := result.exception())]
            for error in sorted(errors, key=lambda error: isinstance(error, BrokenBarrierError)):
                raise error
            if round_number:
                times[name] += [result.result() for result in results]
    return {
        name: (statistics.median(wall for wall, _ in pairs), statistics.median(cpu for _, cpu in pairs))
        for name, pairs in times.items()
    }


def peak_growth(name: str, path: str, wanted: list[int]) -> float:
    """Return by how many MiB a read lets this process grow at its peak, libraries aside (Linux)."""
    read = reader_of(name)
    read(path, wanted[:1])
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # Forgets the peak until now.
    before = _memory_mib("VmRSS")
    read(path, wanted)
    return _memory_mib("VmHWM") - before


def _memory_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def _num_open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def read_many(paths: Sequence[str], num_reads: int) -> str:
    """Read many times in this process, and return the growth of memory after the first tenth."""
    begun = (0.0, 0)
    for number in range(num_reads):
        if number == num_reads // 10:
            begun = _memory_mib("VmRSS"), _num_open_files()
        with VideoReader(paths[number % len(paths)]) as reader:
            reader.read(segment_indices(reader.num_frames, NUM_SEGMENTS, mode="test"))
    after = _memory_mib("VmRSS"), _num_open_files()
    return (
        f"{num_reads} reads in one process: {begun[0]:.0f} MiB and {begun[1]} open files after the first "
        f"tenth, {after[0]:.0f} MiB and {after[1]} open files at the end."
    )


def write_variants(folder: Path) -> dict[str, str]:
    """Encode the clip as x264 does by default, in each size, and transcode two sizes."""
    variants = {"4 keyframes, 340x256": str(SOURCE)}
    for label, size in SIZES.items():
        frames, rate = decoded(SOURCE, size)
        path = write_video(folder / f"{size[1]}.mp4", frames, fps=rate, **X264_DEFAULT)
        variants[f"x264 default, {label}"] = str(path)
    for label in ("340x256", "short side 320"):
        source = Path(variants[f"x264 default, {label}"])
        target = source.with_name(f"short_{source.name}")
        Transcoding().write(source, target, 280)
        variants[f"x264 default, {label}, transcoded"] = str(target)
    return variants


def section(pool: ProcessPoolExecutor, names: Sequence[str], label: str, path: str, rounds: int) -> list[str]:
    """Compare and time the readers on one file; return a table."""
    with VideoReader(path) as reader:
        wanted = segment_indices(reader.num_frames, NUM_SEGMENTS, mode="test").tolist()
        facts = f"{reader.num_frames} frames of {reader.width}x{reader.height}"
    kept, left_out = agreeing(names, path, wanted)
    medians = measure(pool, kept, path, wanted, rounds)
    wall_ours, cpu_ours = medians[OURS]
    lines = [f"**{label}**: {facts}, {Path(path).stat().st_size / 1024:.0f} KiB", ""]
    lines += [f"Left out: {left_out}.", ""] if left_out else []
    lines += ["| reader | wall ms | / ours | CPU ms | / ours |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, (wall, cpu) in medians.items():
        lines.append(f"| {name} | {wall:.1f} | {wall / wall_ours:.2f} | {cpu:.1f} | {cpu / cpu_ours:.2f} |")
    print("\n".join(["", *lines]), flush=True)
    return [*lines, ""]


def memory_section(names: Sequence[str], path: str) -> list[str]:
    """Return a table of the memory that reading takes."""
    with VideoReader(path) as reader:
        wanted = segment_indices(reader.num_frames, NUM_SEGMENTS, mode="test").tolist()
    lines = [
        "By how much a process grows at its peak while it reads 340x256, its libraries being loaded before:",
        "",
        "| reader | MiB |",
        "| --- | ---: |",
    ]
    lines += [f"| {name} | {in_fresh_process(peak_growth, name, path, wanted):.0f} |" for name in names]
    print("\n".join(["", *lines]), flush=True)
    return [*lines, ""]


def report(args: argparse.Namespace) -> str:
    """Measure, and return the figures as a Markdown note."""
    load = os.getloadavg()[0]
    names, absent = present()
    lines = [
        f"# Reading {NUM_SEGMENTS} frames, {cpu_name()}",
        "",
        f"{time.strftime('%Y-%m-%d')}, {peers.versions_of(PACKAGES)}, {os.cpu_count()} cores, "
        f"load {load:.1f} before; `{command_line()}`",
        "",
        f"{NUM_WORKERS} processes at the same time, one thread each; medians of {args.rounds} interleaved "
        "rounds. All readers of a table gave the bytes of a plain decode before.",
        *(["", f"Absent: {'; '.join(absent)}."] if absent else []),
        "",
    ]
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        clips = {Path(video).name: video for video in args.videos} or write_variants(Path(folder))
        barrier = context.Barrier(NUM_WORKERS)
        with ProcessPoolExecutor(NUM_WORKERS, context, begin_worker, (barrier,)) as pool:
            for label, path in clips.items():
                lines += section(pool, names, label, path, args.rounds)
        lines += memory_section(names, next(iter(clips.values())))
        if args.reads:
            lines += [str(in_fresh_process(read_many, list(clips.values())[-2:], args.reads)), ""]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="*", metavar="VIDEO")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--reads", type=int, default=10_000, help="in one process, for leaks; 0: none")
    parser.add_argument("--write", action="store_true", help="also write a note into results/")
    args = parser.parse_args()
    torch.set_num_threads(1)
    note = report(args)
    print("\n" + note, end="")
    if args.write:
        write_note(note, subject="reading", hardware=f"cpu{NUM_WORKERS}")


if __name__ == "__main__":
    main()
