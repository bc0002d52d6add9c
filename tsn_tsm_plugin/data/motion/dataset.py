"""prepare_motion: write small H.264 files of objects that move, turn and change size.

The 8 classes are 4 motions and the same 4 played backwards. A network that averages frames cannot distinguish
a motion from its reverse. Making the dataset takes less than a minute.
"""

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tsn_tsm_plugin.atomic_files import os_errors_as_run_folder_errors
from tsn_tsm_plugin.data.motion.scenes import CLASS_NAMES, CLASS_PAIRS, draw_scene, render_scene
from tsn_tsm_plugin.data.workers import map_in_workers
from tsn_tsm_plugin.file_lock import lock_file
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.paths import read_text

logger = get_logger(__name__)

_MANIFEST = "motion.json"
# Increase this when the pixels or the order of the clips change, so that older folders are recognised.
_VERSION = 1
# Independent streams of random numbers from one seed.
_STREAM_OF_SCENES, _STREAM_OF_ORDER = 1, 2
# Every frame is an intra frame with one fixed quantiser, so its pixels do not depend on other frames. In an
# ordinary group of pictures the first frame is the sharpest, which would reveal the direction.
_X264_OPTIONS = {
    "preset": "veryfast",
    "qp": "26",
    "x264-params": "keyint=1:threads=1:lookahead-threads=1:sliced-threads=0",
}


class _SceneJob(NamedTuple):
    """One scene to render, and the one or two files to write, forwards and backwards."""

    seed: tuple[int, ...]
    pair: int
    forwards: Path | None
    backwards: Path | None


def write_video(path: Path, frames_THWC: NDArray[np.uint8], *, fps: int) -> None:
    """Write RGB frames, of even height and width, as H.264 in mp4; equal frames give equal bytes."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=_X264_OPTIONS)
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")))
        container.mux(stream.encode())


def _write_scene(job: _SceneJob) -> int:
    """Write a scene's files and return their number."""
    scene = draw_scene(np.random.default_rng(job.seed), pair=job.pair)
    frames_THWC = render_scene(scene)
    if job.forwards:
        write_video(job.forwards, frames_THWC, fps=scene.fps)
    if job.backwards:
        write_video(job.backwards, frames_THWC[::-1], fps=scene.fps)
    return sum(path is not None for path in (job.forwards, job.backwards))


def _plan_split(folder: Path, split: str, num_clips: int, seed: int) -> tuple[list[_SceneJob], list[str]]:
    """Return the scenes of a split and the lines of its list.

    Clip ``2 s`` is scene ``s`` forwards, clip ``2 s + 1`` the same scene backwards. Pairs of classes
    alternate, so that class sizes differ by at most one clip. Names count in the order of the shuffled list
    and do not reveal labels.
    """
    stream = (seed, ("train", "val").index(split))
    order = np.random.default_rng((*stream, _STREAM_OF_ORDER)).permutation(num_clips)
    paths: dict[int, Path] = {}
    lines = []
    for position, clip in enumerate(order.tolist()):
        name = f"videos/{split}/{position:06d}.mp4"
        paths[clip] = folder / name
        scene, backwards = divmod(clip, 2)
        lines.append(f"{name} {2 * (scene % len(CLASS_PAIRS)) + backwards}")
    jobs = [
        _SceneJob(
            seed=(*stream, _STREAM_OF_SCENES, scene),
            pair=scene % len(CLASS_PAIRS),
            forwards=paths.get(2 * scene),
            backwards=paths.get(2 * scene + 1),
        )
        for scene in range((num_clips + 1) // 2)
    ]
    return jobs, lines


def _write_dataset(folder: Path, manifest: dict[str, int], *, num_workers: int) -> None:
    jobs = []
    for split in ("train", "val"):
        (folder / "videos" / split).mkdir(parents=True)
        split_jobs, lines = _plan_split(folder, split, manifest[f"num_{split}"], manifest["seed"])
        jobs += split_jobs
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
    (folder / "labels.txt").write_text("\n".join(CLASS_NAMES) + "\n")
    num_clips = manifest["num_train"] + manifest["num_val"]
    logger.info("Making the motion dataset of %d clips, less than a minute's work.", num_clips)
    # With None, tqdm shows the bar in terminals only.
    with tqdm(total=num_clips, desc="motion dataset", unit="clip", disable=None) as progress:
        for num_written in map_in_workers(_write_scene, jobs, num_workers=num_workers, chunksize=4):
            progress.update(num_written)
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def _is_ready(out_dir: Path, manifest: dict[str, int]) -> bool:
    """Return whether the folder holds exactly this dataset; raise for other content."""
    if not out_dir.exists() or (out_dir.is_dir() and not any(out_dir.iterdir())):
        return False
    path = out_dir / _MANIFEST
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError):
        found = "other files"
    if found != manifest:
        raise ValueError(
            f"out_dir must be new, empty, or hold this motion dataset {manifest}, "
            f"but {out_dir} holds {found}. Choose another folder or remove this one."
        )
    return True


@contextmanager
def _one_at_a_time(out_dir: Path) -> Iterator[None]:
    """Let one process at a time work on a folder, by a lock on a file beside the folder."""
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    lock = out_dir.with_name(f".{out_dir.name}.lock")
    with lock.open("a+") as file:  # Opening a pipe for writing only would wait for a reader.
        # Without locks two processes may both build the folder; the rename stays atomic.
        lock_file(file, wait=True)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def prepare_motion(
    out_dir: str | Path,
    *,
    num_train: int = 1000,
    num_val: int = 240,
    seed: int = 0,
    num_workers: int = 0,
) -> Path:
    """Make the motion dataset: ``train.txt``, ``val.txt``, ``labels.txt`` and ``videos/``.

    The files depend on the seed, not on the number of workers. The folder appears atomically. If several
    processes request the folder together, one makes it and the others wait. A folder that already holds this
    dataset is not changed.

    Args:
        out_dir: Folder to make.
        num_train: Number of training clips; a multiple of 8 makes all classes equally large.
        num_val: Number of validation clips; a multiple of 8 makes all classes equally large.
        seed: Seed of every choice, not negative.
        num_workers: Processes that render and encode; 0 uses this process.

    Returns:
        The folder.

    Raises:
        ValueError: If a number is out of range, or the folder holds something else.
        RunFolderError: If the folder cannot be written.
    """
    for name, value, least in (
        ("num_train", num_train, 1),
        ("num_val", num_val, 1),
        ("seed", seed, 0),
        ("num_workers", num_workers, 0),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}.")
    out_dir = Path(out_dir)
    manifest = {"version": _VERSION, "num_train": num_train, "num_val": num_val, "seed": seed}
    with os_errors_as_run_folder_errors(out_dir), _one_at_a_time(out_dir):
        if _is_ready(out_dir, manifest):
            logger.info(f"{out_dir} already holds this dataset.")
            return out_dir
        partial = out_dir.with_name(f".{out_dir.name}.{uuid.uuid4().hex}")
        try:
            _write_dataset(partial, manifest, num_workers=num_workers)
            partial.rename(out_dir)
        except OSError:
            if not _is_ready(out_dir, manifest):
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    logger.info(f"Made {num_train} training and {num_val} validation clips in {out_dir}.")
    return out_dir
