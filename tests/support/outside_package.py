"""A package from outside with one component of every kind, each with an option and a note of its use.

Tests copy this file into a site directory as the module ``outside``; it does not use the test suite.

Axes: B clips, C channels, T frames, H rows, W columns, K classes.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsn_tsm_plugin.data.datasets import SplitRequest
from tsn_tsm_plugin.data.decoders.pyav import PyAVDecoder
from tsn_tsm_plugin.data.video_dataset import VideoListDataset, open_video_file

USED: list[tuple[str, object]] = []
"""Kind and option of every component that was made."""


class Backbone(nn.Sequential):
    def __init__(self, *, weights: str = "", width: int) -> None:
        USED.append(("backbone", width))
        self.num_features = width
        super().__init__(nn.Conv2d(3, width, 8, stride=8), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU())

    def temporal_shift_sites(self, shift_place: str) -> list[str]:
        return ["2"]


class Head(nn.Module):
    def __init__(self, *, in_features: int, out_features: int, scale: float, **slot: object) -> None:
        super().__init__()
        USED.append(("head", scale))
        self.fc = nn.Linear(in_features, out_features)
        self.scale = scale

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return self.scale * self.fc(x_BCTHW.mean((2, 3, 4)))


class FrameMean(nn.Module):
    """Temporal module: adds the mean over the frames times a learnt factor."""

    def __init__(self, dim: int, *, num_segments: int, share: float) -> None:
        super().__init__()
        USED.append(("temporal_module", share))
        self.share = nn.Parameter(torch.full((dim, 1, 1, 1), share))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return x_BCTHW + self.share * x_BCTHW.mean(2, keepdim=True)


@dataclass(frozen=True)
class FirstFrames:
    num_segments: int
    start: int

    def __call__(self, num_frames: int, generator: torch.Generator | None = None) -> Tensor:
        return (torch.arange(self.num_segments) + self.start) % num_frames


def first_frames(num_segments: int, *, mode: str, num_views: int = 1, start: int = 0) -> FirstFrames:
    USED.append(("sampler", start))
    return FirstFrames(num_segments, start)


class Invert(nn.Module):
    def __init__(self, *, top: int) -> None:
        super().__init__()
        USED.append(("transform", top))
        self.top = top

    def forward(self, video: Tensor) -> Tensor:
        return self.top - video


class Smooth(nn.Module):
    """Batch transform: keeps clips and smooths labels."""

    def __init__(self, *, num_classes: int, smoothing: float) -> None:
        super().__init__()
        USED.append(("batch_transform", smoothing))
        self.num_classes, self.smoothing = num_classes, smoothing

    def forward(self, video: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        hard = F.one_hot(labels, self.num_classes).float()
        return video, hard * (1 - self.smoothing) + self.smoothing / self.num_classes


class DarkDecoder(PyAVDecoder):
    def __init__(self, path: str, *, num_threads: int = 1, short_side: int = 0, darker: int = 0) -> None:
        USED.append(("decoder", darker))
        super().__init__(path, num_threads=num_threads, short_side=short_side)
        self.darker = darker

    def read(self, indices: list[int]) -> Tensor:
        return super().read(indices) // self.darker


@dataclass(frozen=True)
class Clip:
    name: str
    path: str
    label: int


def folders(request: SplitRequest, *, suffix: str) -> VideoListDataset:
    """Dataset: a folder for each class instead of a list."""
    USED.append(("dataset", suffix))
    files = sorted(Path(request.prefix, request.split).glob(f"*/*{suffix}"))
    clips = [Clip(file.name, str(file), int(file.parent.name)) for file in files]
    return request.dataset(clips, functools.partial(open_video_file, **request.reader))


class SignDescent(torch.optim.Optimizer):
    def __init__(self, param_groups: list[dict], *, decay: float) -> None:
        USED.append(("optimizer", decay))
        super().__init__(param_groups, {"lr": 0.0, "weight_decay": 0.0, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
                mean.mul_(group["decay"]).add_(parameter.grad)
                parameter.sub_(mean.sign(), alpha=group["lr"])


def halving(*, num_epochs: int, every: int):  # noqa: ANN201
    USED.append(("lr_policy", every))
    return lambda share: 0.5 ** (share * num_epochs // every)


def focal(*, num_classes: int, gamma: float):  # noqa: ANN201
    USED.append(("loss", gamma))

    def loss(logits_BK: Tensor, target: Tensor) -> Tensor:
        losses_B = F.cross_entropy(logits_BK, target, reduction="none")
        return (1 - torch.exp(-losses_B)) ** gamma * losses_B

    return loss


class Lines:
    """Logger: one line per record, in a file of the run folder."""

    def __init__(self, *, folder: Path, run_name: str, recipe: dict, step: int, file: str) -> None:
        USED.append(("logger", file))
        self.path = folder / file
        with self.path.open("a") as out:
            out.write(f"{run_name} from {step}, lr {recipe['SOLVER.BASE_LR']}\n")

    def write(self, step: int, epoch: int, values: dict[str, float]) -> None:
        with self.path.open("a") as out:
            out.write(f"{step} {epoch} {sorted(values)}\n")

    def close(self) -> None:
        with self.path.open("a") as out:
            out.write("closed\n")
