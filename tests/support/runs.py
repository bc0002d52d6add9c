"""write_dataset, write_recipe, tiny_cfg, ...: a recipe whose training run takes a second on one core."""

import contextlib
import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from support.tf32 import without_tf32
from support.videos import numbered_frames, write_video
from torch import Tensor, nn

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.config import CfgNode, load_cfg
from tsn_tsm_plugin.registry import BACKBONES

CLASSES = ("still", "slow", "fast")

_RECIPE = """
RNG_SEED: 3
LOG_PERIOD: 1
MODEL: {ARCH: tsm, BACKBONE: tiny, NUM_CLASSES: 3, DROPOUT_RATE: 0.5, FC_INIT_STD: 0.01}
TSM: {SHIFT_DIV: 8}
DATA:
  NUM_FRAMES: 2
  LABEL_MAP: labels.txt
  TRAIN_SHORT_SIDE: 0
  TEST_SHORT_SIDE: 0
  TRAIN_CROP_SIZE: 32
  TEST_CROP_SIZE: 32
DATA_LOADER: {NUM_WORKERS: 0}
TRAIN: {BATCH_SIZE: 4, EVAL_PERIOD: 1}
TEST: {BATCH_SIZE: 4}
SOLVER: {BASE_LR: 0.01, MAX_EPOCH: 2, STEPS: [0, 1], LRS: [1.0, 0.1]}
TENSORBOARD: {ENABLE: False}
"""


class TinyBackbone(nn.Module):
    """A stem and one convolution that the shift can wrap, with batch norm: two thousand parameters."""

    num_features = 16

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8), nn.ReLU())
        self.conv = nn.Conv2d(8, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.norm(self.conv(self.stem(x_NCHW))).relu()

    def temporal_shift_sites(self, shift_place: str) -> list[str]:
        return ["conv"]


@BACKBONES.register("tiny")
def tiny_backbone(*, weights: str = "") -> TinyBackbone:
    return TinyBackbone()


def write_dataset(folder: Path, *, num_train: int = 10, num_val: int = 5) -> Path:
    """Write videos of three classes that differ in speed, with lists and a label map."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", num_train), ("val", num_val)):
        lines = []
        for index in range(count):
            label = index % len(CLASSES)
            name = f"{split}_{index}.mp4"
            start, stride = 7 * index, (0, 1, 5)[label]
            numbers = [start + stride * t for t in range(6)]
            frames = numbered_frames(start + stride * 5 + 1, height=36, width=48)
            write_video(folder / name, [frames[number] for number in numbers], gop_size=3, b_frames=0)
            lines.append(f"{name} {label}\n")
        (folder / f"{split}.txt").write_text("".join(lines))
    (folder / "labels.txt").write_text("\n".join(CLASSES) + "\n")
    return folder


def write_recipe(folder: Path, *, data: Path) -> Path:
    """Write the YAML of the tiny recipe for a dataset of :func:`write_dataset`.

    A folder without a dataset gets lists, which suffice for tests that read no video.
    """
    if data.is_dir() and not (data / "train.txt").exists():
        (data / "labels.txt").write_text("".join(f"{name}\n" for name in CLASSES))
        for split in ("train", "val"):
            lines = [f"{split}_{label}.mp4 {label}\n" for label in range(len(CLASSES))]
            (data / f"{split}.txt").write_text("".join(lines))
    path = folder / "tiny.yaml"
    path.write_text(_RECIPE.replace("DATA:\n", f"DATA:\n  PATH_TO_DATA_DIR: {data}\n", 1))
    return path


def tiny_cfg(folder: Path, *, data: Path, out: str = "run", **overrides: Any) -> CfgNode:
    """Return the tiny recipe's config with the run folder ``folder / out``.

    Args:
        folder: Folder of the recipe and the run folder.
        data: Result of :func:`write_dataset`.
        out: Name of the run folder.
        overrides: Values by key with ``__`` for the point, such as ``SOLVER__MAX_EPOCH=1``.
    """
    opts = ["OUTPUT_DIR", str(folder / out)]
    for key, value in overrides.items():
        opts += [key.replace("__", "."), str(value)]
    return load_cfg(write_recipe(folder, data=data), opts)


def train_exactly(cfg: CfgNode, *, steps: int = -1) -> None:
    """Train in full float32, to the end or for ``steps`` steps; for separate processes."""
    polls = itertools.count()
    with without_tf32(), contextlib.suppress(engine.TrainingStopped):
        engine.train(cfg, stop_requested=lambda: next(polls) == steps)


class ForkedTraining:
    """The command ``tools.train`` in a forked process, which avoids slow imports.

    Attributes:
        pid: Id of the process, which leads its own process group.
        run: The run folder.
    """

    def __init__(self, folder: Path, *, data: Path, opts: Sequence[str] = ()) -> None:
        self.run = folder / "run"
        self._said = folder / f"stderr_{len(list(folder.glob('stderr_*')))}.txt"
        self._said.touch()  # The run may be killed before it opens the file.
        argv = ["--cfg", str(write_recipe(folder, data=data)), "OUTPUT_DIR", str(self.run), *opts]
        self._process = multiprocessing.get_context("fork").Process(target=self._train, args=(argv,))
        self._process.start()
        self.pid = self._process.pid

    def _train(self, argv: list[str]) -> None:
        from tsn_tsm_plugin.tools.train import main

        os.setsid()
        torch.set_num_threads(1)  # as in loader workers: the threads of the parent were not forked
        with self._said.open("w", buffering=1) as sys.stderr:
            code = main(argv)
        os._exit(code)

    def wait_for_steps(self, steps: int) -> None:
        """Return once the run has taken ``steps`` steps and written their metrics."""
        metrics = self.run / "metrics.jsonl"
        while not metrics.exists() or metrics.read_text().count("train/loss") < steps:
            assert self._process.is_alive(), self._said.read_text()
            time.sleep(0.01)

    def children(self) -> list[int]:
        """Return the ids of the run's direct child processes (on Linux)."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def wait_at_most(self, seconds: float) -> None:
        """Return after ``seconds``, or as soon as the run has ended."""
        self._process.join(timeout=seconds)

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code, negative after a fatal signal, and the text of stderr."""
        self._process.join(timeout=120)
        assert self._process.exitcode is not None, "the run does not end"
        return self._process.exitcode, self._said.read_text()
