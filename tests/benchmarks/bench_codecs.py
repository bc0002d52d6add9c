"""Reading eight segment-centre frames by codec, preset and keyframe interval: time, bytes, PSNR.

    python tests/benchmarks/bench_codecs.py [VIDEO] [--rounds 5] [--quick] [--write]

The clip (by default ../shared/videos/arm_wrestling.mp4, 280 frames of 340x256) is encoded once per row.
Frames are first compared with a plain decode: a reader with other frames is not timed. The readers take turns
in one process on one thread; times are CPU time. PSNR compares decoded frames with the encoder's input.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import peers
import torch
from bench_reading import NUM_SEGMENTS, OURS, PACKAGES, SOURCE, agreeing, present, reader_of
from clips import SIZES, decoded
from measuring import command_line, cpu_name, write_note
from support.videos import sequential_frames, write_video

from tsn_tsm_plugin.data.preparation.convert import Transcoding
from tsn_tsm_plugin.transforms.segments import segment_indices

KEYFRAMES = (12, 48, 250)
PEERS = ("torchcodec", "decord")
ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    **{
        f"x264 {preset}": ("libx264", {"preset": preset})
        for preset in ("ultrafast", "veryfast", "medium", "slow")
    },
    "x265 medium": ("libx265", {"x265-params": "log-level=error"}),
    "svt-av1 preset 8": ("libsvtav1", {"preset": "8"}),
    "vp9 cpu-used 4": ("libvpx-vp9", {"deadline": "good", "cpu-used": "4", "crf": "32", "b": "0"}),
}
TRANSCODED = "x264 medium 250, then `prepare_dataset --transcode`"


def psnr(frames: torch.Tensor, originals: torch.Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB of uint8 frames (T, C, H, W)."""
    squares = [((a.float() - b.float()) ** 2).mean().item() for a, b in zip(frames, originals, strict=True)]
    return 10 * float(np.log10(255**2 / statistics.mean(squares)))


def cpu_milliseconds(path: str, names: list[str], wanted: list[int], num_rounds: int) -> dict[str, float]:
    """Return the median CPU time of each reader; the first round does not count."""
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(num_rounds + 1):
        for name in names:
            begun = time.process_time()
            reader_of(name)(path, wanted)
            times[name].append((time.process_time() - begun) * 1e3)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def row(
    label: str, keyframes: int, path: Path, originals: torch.Tensor, readers: list[str], rounds: int
) -> str:
    """Compare and time the readers on one file."""
    wanted = segment_indices(len(originals), NUM_SEGMENTS, mode="test").tolist()
    kept, left_out = agreeing(readers, str(path), wanted)
    took = cpu_milliseconds(str(path), kept, wanted, rounds)
    ratios = [f"{took[name] / took[OURS]:.1f} x" if name in took else "-" for name in readers[1:]]
    quality = psnr(sequential_frames(path), originals)
    cells = [
        label,
        keyframes,
        f"{path.stat().st_size / 1024:.0f}",
        f"{quality:.1f}",
        f"{took[OURS]:.1f}",
        *ratios,
    ]
    line = f"| {' | '.join(map(str, cells))} |"
    print(line, left_out, flush=True)
    return line


def report(args: argparse.Namespace) -> str:
    """Encode and measure, and return the figures as a Markdown note."""
    load = os.getloadavg()[0]
    names, absent = present()
    readers = [OURS, *(name for name in PEERS if name in names)]
    frames, rate = decoded(Path(args.video), SIZES["340x256"])
    originals = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    header = ["encoder", "keyframe every", "KiB", "PSNR dB", "ours, ms", *readers[1:]]
    lines = [
        f"# Reading {NUM_SEGMENTS} frames by codec, {cpu_name()}",
        "",
        f"{time.strftime('%Y-%m-%d')}, {peers.versions_of(PACKAGES)}, {os.cpu_count()} cores, "
        f"load {load:.1f} before; `{command_line()}`",
        "",
        f"{len(frames)} frames of 340x256; CPU time on one thread, medians of {args.rounds} interleaved "
        "rounds. The columns of other readers are their time over ours. Encoders have their default quality, "
        "VP9 has crf 32. A reader without a figure cannot read the file or gives other frames.",
        *(["", f"Absent: {'; '.join(absent)}."] if absent else []),
        "",
        f"| {' | '.join(header)} |",
        "| --- |" + " ---: |" * (len(header) - 1),
    ]
    print("\n".join(lines[-2:]), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for label, (codec, options) in ENCODERS.items():
            if args.quick and label != "x264 medium":
                continue
            for keyframes in KEYFRAMES:
                path = Path(folder) / f"{label} {keyframes}.mp4"
                write_video(
                    path, frames, fps=rate, codec=codec, gop_size=keyframes, b_frames=3, options=options
                )
                lines.append(row(label, keyframes, path, originals, readers, args.rounds))
        source, target = Path(folder) / "x264 medium 250.mp4", Path(folder) / "transcoded.mp4"
        Transcoding().write(source, target, len(frames))
        lines.append(
            row(TRANSCODED, Transcoding().keyframe_interval, target, originals, readers, args.rounds)
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", nargs="?", default=str(SOURCE), metavar="VIDEO")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="x264 medium only")
    parser.add_argument("--write", action="store_true", help="also write a note into results/")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["SVT_LOG"] = "1"  # Errors only.
    note = report(args)
    if args.write:
        write_note(note, subject="codecs", hardware="cpu1")


if __name__ == "__main__":
    main()
