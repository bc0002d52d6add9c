"""The whole training loader against MMAction2's: decode, resize, crop, flip, batch of uint8.

    python tests/benchmarks/bench_loading.py [--workers 1 2] [--epochs 5] [--write]

Both read the same eight distinct clips of 10 s. Their recipes are TSM-R50 with 8 frames, short side 256,
multi-scale crop of 224 and flip. Ours is `build_loader` of projects/tsm/k400_r50_8f.yaml. MMAction2's uses
decord as in its tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb.py, in a torch DataLoader whose
workers stack the batch. First the frames of both validation pipelines are compared: they must be equal
to the byte. Then the loaders take turns, an epoch each.
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
from measuring import command_line, cpu_name, write_note
from torch.utils.data import ConcatDataset, DataLoader

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from clips import SIZES, write_clips  # noqa: E402

from tsn_tsm_plugin import load_cfg  # noqa: E402
from tsn_tsm_plugin.data.build import build_dataset, build_loader  # noqa: E402
from tsn_tsm_plugin.data.preparation.convert import Transcoding  # noqa: E402

OURS, THEIRS = "tsn_tsm_plugin", "MMAction2, decord"
VIDEOS = REPOSITORY.parent / "shared/videos"
SOURCES = ("arm_wrestling.mp4", "two_video_streams.mp4")
RECIPE = REPOSITORY / "projects/tsm/k400_r50_8f.yaml"
BATCH_SIZE, NUM_REPEATS = 8, 4
PACKAGES = ("av", "torch", "mmaction2", "decord", "opencv-python-headless")

CreateLoader = Callable[[], DataLoader]


@functools.cache
def why_absent() -> str:
    """Return why MMAction2's loader cannot be made, nothing where it can."""
    try:
        import decord  # noqa: F401
        import mmaction.datasets  # noqa: F401
    except (ImportError, OSError) as error:
        return str(error).splitlines()[0]
    return ""


def our_cfg(folder: Path, num_workers: int):
    """Return the recipe, reading the clips of a folder."""
    return load_cfg(
        RECIPE,
        [
            f"DATA.PATH_TO_DATA_DIR={folder}",
            "DATA.PATH_PREFIX=",
            "DATA.LABEL_MAP=",
            "DATA.VAL_LIST=train.txt",
            f"DATA_LOADER.NUM_WORKERS={num_workers}",
            f"TRAIN.BATCH_SIZE={BATCH_SIZE}",
            f"TRAIN.NUM_REPEATS={NUM_REPEATS}",
        ],
    )


def stack(samples: list[dict]) -> torch.Tensor:
    """Stack what MMAction2's pipeline packs, as its data preprocessor does in the training process."""
    return torch.stack([sample["inputs"] for sample in samples])


def loader_makers(folder: Path, num_workers: int) -> dict[str, CreateLoader]:
    """Return a function that creates a loader for one epoch: its workers end, so their CPU time is known."""
    cfg = our_cfg(folder, num_workers)

    def create_theirs() -> DataLoader:
        videos = [peers.mmaction2_dataset(folder / "train.txt", split="train")] * NUM_REPEATS
        options = {"batch_size": BATCH_SIZE, "shuffle": True, "collate_fn": stack}
        return DataLoader(ConcatDataset(videos), num_workers=num_workers, **options)

    makers: dict[str, CreateLoader] = {OURS: lambda: build_loader(cfg, "train")}
    return makers if why_absent() else makers | {THEIRS: create_theirs}


def check_frames(folder: Path) -> None:
    """Compare the clips of both validation pipelines."""
    ours = build_dataset(our_cfg(folder, 0), "val")
    theirs = peers.mmaction2_dataset(folder / "train.txt", split="val")
    for number in range(len(ours)):
        frames_TCHW = ours[number]["video"].transpose(0, 1)
        if not torch.equal(frames_TCHW, theirs[number]["inputs"]):
            raise SystemExit(f"{ours.entries[number].path}: both pipelines give other pixels")


def time_epoch(create_loader: CreateLoader) -> tuple[float, float]:
    """Return wall and CPU milliseconds per clip, including the workers."""
    loader = create_loader()
    wall, cpu = time.perf_counter(), _cpu_seconds()
    num_clips = 0
    for batch in loader:
        video = batch if isinstance(batch, torch.Tensor) else batch["video"]
        assert video.dtype == torch.uint8 and video.shape[-2:] == (224, 224)
        num_clips += len(video)
    wall = time.perf_counter() - wall
    del batch, video, loader
    return 1e3 * wall / num_clips, 1e3 * (_cpu_seconds() - cpu) / num_clips


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure(folder: Path, num_workers: int, num_epochs: int) -> dict[str, tuple[float, float]]:
    """Return the median wall and CPU milliseconds per clip of both loaders."""
    makers = loader_makers(folder, num_workers)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in makers}
    for epoch in range(num_epochs + 1):
        for name, create_loader in makers.items():
            time_of_epoch = time_epoch(create_loader)
            if epoch:
                times[name].append(time_of_epoch)
    return {
        name: (statistics.median(wall for wall, _ in pairs), statistics.median(cpu for _, cpu in pairs))
        for name, pairs in times.items()
    }


def rows(label: str, folder: Path, args: argparse.Namespace) -> list[str]:
    """Return the rows of a table for the clips of one folder."""
    lines = []
    if not why_absent():
        check_frames(folder)
    for num_workers in args.workers:
        medians = measure(folder, num_workers, args.epochs)
        for name, figures in medians.items():
            ratios = [f"{a / b:.2f} x" for a, b in zip(medians.get(THEIRS, ()), figures, strict=False)]
            (wall, cpu), (faster, less) = figures, ratios or ("", "")
            lines.append(f"| {label} | {num_workers} | {name} | {wall:.1f} | {faster} | {cpu:.1f} | {less} |")
            print(lines[-1], flush=True)
    return lines


def write_folders(folder: Path) -> dict[str, Path]:
    """Encode the clips, transcode them, and list each."""
    folders = {}
    for label in ("340x256", "short side 320"):
        plain, short = folder / label.replace(" ", "_"), folder / f"{label.replace(' ', '_')}_short"
        plain.mkdir()
        clips = write_clips([VIDEOS / source for source in SOURCES], plain, SIZES[label])
        for clip in clips:
            Transcoding().write(clip, short / clip.name, 280)
        folders |= {f"{label}, x264 default": plain, f"{label}, transcoded": short}
    for path in folders.values():
        names = sorted(clip.name for clip in path.glob("*.mp4"))
        (path / "train.txt").write_text("".join(f"{name} {number}\n" for number, name in enumerate(names)))
    return folders


def report(args: argparse.Namespace) -> str:
    """Measure, and return the figures as a Markdown note."""
    load = os.getloadavg()[0]
    lines = [
        f"# Loading clips for training, {cpu_name()}",
        "",
        f"{time.strftime('%Y-%m-%d')}, {peers.versions_of(PACKAGES)}, {os.cpu_count()} cores, "
        f"load {load:.1f} before; `{command_line()}`",
        "",
        f"Milliseconds per clip of 8 frames, medians of {args.epochs} interleaved epochs of "
        f"{8 * NUM_REPEATS} clips in batches of {BATCH_SIZE}; wall time, and CPU time of all processes. "
        + (
            f"Absent: MMAction2 ({why_absent()})."
            if why_absent()
            else "The validation pipelines gave the same bytes."
        ),
        "",
        "| clips | workers | loader | wall ms | faster than MMAction2 | CPU ms | with less CPU |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for label, path in write_folders(Path(folder)).items():
            lines += rows(label, path, args)
    return "\n".join([*lines, ""])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="also write a note into results/")
    args = parser.parse_args()
    torch.set_num_threads(1)
    note = report(args)
    print(note, end="")
    if args.write:
        write_note(note, subject="loading", hardware=f"cpu{os.cpu_count()}")


if __name__ == "__main__":
    main()
