"""Time to read eight segment-centre frames from a closed file, one thread, against other readers.

    python tests/benchmarks/bench_reading.py [VIDEO ...]

Without arguments it reads the 10 s clip ../shared/videos/arm_wrestling.mp4 and re-encodings of it with x264's
default settings at 340x256 and at short side 320, and with a keyframe every 12 frames. Frames are compared
byte for byte first; then the readers take turns, and medians of wall and CPU time are printed, with ratios to
ours. A reader that does not load is reported as absent, one that gives other frames as such.
"""

import importlib.metadata
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from support.videos import sequential_frames, write_video  # noqa: E402

from tsn_tsm_plugin.data.reader import VideoReader  # noqa: E402
from tsn_tsm_plugin.transforms.segments import segment_indices  # noqa: E402

NUM_ROUNDS = 15
NUM_SEGMENTS = 8
PACKAGES = ("av", "torchcodec", "decord", "pytorchvideo", "torch")

Reader = Callable[[str, list[int]], Tensor]


def ours(path: str, wanted: list[int]) -> Tensor:
    with VideoReader(path) as reader:
        return reader.read(wanted)


def pyav_sequential(path: str, wanted: list[int]) -> Tensor:
    """Decode up to the last wanted frame and convert only the wanted ones."""
    with av.open(path) as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        frames = {}
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                frames[index] = frame.to_ndarray(format="rgb24")
            if index == wanted[-1]:
                break
    return torch.from_numpy(np.stack([frames[index] for index in wanted])).permute(0, 3, 1, 2)


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


def load_readers() -> dict[str, Reader]:
    """Return the readers that load; say which do not."""
    readers: dict[str, Reader] = {"tsn_tsm_plugin": ours, "PyAV, sequential": pyav_sequential}
    for name, make in [
        ("torchcodec", make_torchcodec),
        ("decord", make_decord),
        ("PyTorchVideo", make_pytorchvideo),
    ]:
        try:
            readers[name] = make()
        except (ImportError, RuntimeError, OSError) as error:
            print(f"absent: {name} ({str(error).splitlines()[0]})")
    return readers


def agreeing(readers: dict[str, Reader], path: str, wanted: list[int]) -> dict[str, Reader]:
    """Leave out the readers whose frames differ from a plain decode of the whole file."""
    expected = sequential_frames(path)[wanted]
    kept = {}
    for name, read in readers.items():
        if torch.equal(read(path, wanted), expected):
            kept[name] = read
        else:
            print(f"  {name}: other frames, not timed")
    return kept


def measure(readers: dict[str, Reader], path: str, wanted: list[int]) -> dict[str, tuple[float, float]]:
    """Return median wall and CPU milliseconds of each reader over interleaved rounds."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
    for _ in range(NUM_ROUNDS):
        for name, read in readers.items():
            wall, cpu = time.perf_counter(), time.process_time()
            read(path, wanted)
            times[name].append(((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3))
    return {
        name: (statistics.median(wall for wall, _ in pairs), statistics.median(cpu for _, cpu in pairs))
        for name, pairs in times.items()
    }


def report(readers: dict[str, Reader], label: str, path: str) -> None:
    """Compare and time the readers on one file."""
    with VideoReader(path) as reader:
        wanted = segment_indices(reader.num_frames, NUM_SEGMENTS, mode="test").tolist()
        print(f"\n{label}: {reader.num_frames} frames of {reader.width}x{reader.height}, frames {wanted}")
    medians = measure(agreeing(readers, path, wanted), path, wanted)
    own_wall, own_cpu = medians["tsn_tsm_plugin"]
    print(f"  {'reader':18} {'wall ms':>8} {'x ours':>7} {'CPU ms':>8} {'x ours':>7}")
    for name, (wall, cpu) in medians.items():
        print(f"  {name:18} {wall:8.1f} {wall / own_wall:7.2f} {cpu:8.1f} {cpu / own_cpu:7.2f}")


def write_variants(source: Path, folder: Path) -> dict[str, str]:
    """Encode the clip again with x264."""
    with av.open(str(source)) as container:
        rate = container.streams.video[0].average_rate
        decoded = list(container.decode(video=0))
    small = [frame.to_ndarray(format="rgb24") for frame in decoded]
    large = [frame.to_ndarray(format="rgb24", width=424, height=320) for frame in decoded]
    settings = {"fps": rate, "gop_size": 250, "b_frames": 3}
    return {
        "x264 default, 340x256": str(write_video(folder / "small.mp4", small, **settings)),
        "x264 default, short side 320": str(write_video(folder / "large.mp4", large, **settings)),
        "x264, keyframe every 12": str(
            write_video(folder / "short.mp4", small, **settings | {"gop_size": 12})
        ),
    }


def main(videos: Sequence[str]) -> None:
    """Print one table per video."""
    torch.set_num_threads(1)
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} absent")
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {', '.join(versions)}")
    readers = load_readers()
    with tempfile.TemporaryDirectory() as folder:
        clips = {Path(video).name: video for video in videos}
        source = REPOSITORY.parent / "shared/videos/arm_wrestling.mp4"
        if not videos:
            clips = {source.name: str(source)} | write_variants(source, Path(folder))
        for label, path in clips.items():
            report(readers, label, path)


if __name__ == "__main__":
    main(sys.argv[1:])
