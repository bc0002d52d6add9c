"""Networks and readers of other projects, to measure beside ours; absent projects are reported.

Axes: B videos, C channels, T frames, H rows, W columns, K classes.
"""

import contextlib
import importlib.metadata
import importlib.util
import io
import logging
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.data import Dataset


class MMAction2TSM(nn.Module):
    """MMAction2's backbone and head, joined as its ``Recognizer2D`` joins them; its names of parameters."""

    def __init__(self, backbone: nn.Module, cls_head: nn.Module, *, num_segments: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.cls_head = cls_head
        self.num_segments = num_segments

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        frames_NCHW = x_BCTHW.transpose(1, 2).flatten(0, 1).contiguous()
        return self.cls_head(self.backbone(frames_NCHW), self.num_segments)


def mmaction2(*, num_segments: int, num_classes: int) -> nn.Module:
    """Create MMAction2's TSM-R50 without dropout.

    Raises:
        ImportError: If MMAction2 or what it needs is missing.
    """
    # The wheel of 1.2.0 lacks this package, which has nothing to do with TSM.
    name = "mmaction.models.localizers.drn"
    package, module = types.ModuleType(name), types.ModuleType(f"{name}.drn")
    package.__path__ = []  # type: ignore[attr-defined]
    module.DRN = nn.Module  # type: ignore[attr-defined]
    sys.modules.setdefault(name, package)
    sys.modules.setdefault(f"{name}.drn", module)
    from mmaction.models.backbones.resnet_tsm import ResNetTSM
    from mmaction.models.heads.tsm_head import TSMHead

    logging.disable(logging.WARNING)  # It reports every parameter.
    # ResNetTSM inserts its shifts when it initialises its weights.
    backbone = ResNetTSM(
        depth=50, num_segments=num_segments, shift_div=8, norm_eval=False, pretrained=None, pretrained2d=False
    )
    backbone.init_weights()
    head = TSMHead(
        num_classes=num_classes,
        in_channels=2048,
        num_segments=num_segments,
        dropout_ratio=0.0,
        init_std=0.001,
    )
    head.init_weights()
    logging.disable(logging.NOTSET)
    return MMAction2TSM(backbone, head, num_segments=num_segments)


class AveragedFrames(nn.Module):
    """An image network on every frame, and the mean of the frames' scores, as in mit-han-lab's ``TSN``."""

    def __init__(
        self,
        base_model: nn.Module,
        *,
        num_segments: int,
        num_classes: int,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        super().__init__()
        self.base_model = base_model.to(memory_format=memory_format)
        self.new_fc = nn.Linear(2048, num_classes)
        self.num_segments = num_segments
        self.memory_format = memory_format
        nn.init.normal_(self.new_fc.weight, 0.0, 0.001)
        nn.init.zeros_(self.new_fc.bias)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        frames_NCHW = x_BCTHW.transpose(1, 2).flatten(0, 1).contiguous(memory_format=self.memory_format)
        scores = self.new_fc(self.base_model(frames_NCHW))
        return scores.unflatten(0, (-1, self.num_segments)).mean(1)


def plain(*, num_segments: int, num_classes: int) -> nn.Module:
    """Create torchvision's ResNet-50 in channels_last, without a shift: what TSM would cost for nothing."""
    base_model = torchvision.models.resnet50()
    base_model.fc = nn.Identity()
    return AveragedFrames(
        base_model,
        num_segments=num_segments,
        num_classes=num_classes,
        memory_format=torch.channels_last,
    )


def mit(checkout: Path, *, num_segments: int, num_classes: int) -> nn.Module:
    """Create mit-han-lab's TSM-R50 without dropout, from its ``ops/temporal_shift.py``.

    Args:
        checkout: A clone of https://github.com/mit-han-lab/temporal-shift-module.
        num_segments: T.
        num_classes: K.

    Raises:
        ImportError: If that file is not there.
    """
    path = checkout / "ops" / "temporal_shift.py"
    if not path.is_file():
        raise ImportError(f"there is no {path}; give a clone with --mit")
    spec = importlib.util.spec_from_file_location("mit_temporal_shift", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    base_model = torchvision.models.resnet50()
    base_model.fc = nn.Identity()
    with contextlib.redirect_stdout(io.StringIO()):  # It reports every stage.
        module.make_temporal_shift(base_model, num_segments, n_div=8, place="blockres")
    return AveragedFrames(base_model, num_segments=num_segments, num_classes=num_classes)


def give_statistics_(model: nn.Module) -> None:
    """Give normalisations other statistics than a fresh network has, in place."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)


def mmaction2_dataset(list_file: Path, *, split: str) -> Dataset:
    """Create MMAction2's videos with the pipeline of its TSM-R50 recipe on Kinetics, read with decord.

    Args:
        list_file: Lines ``path label``, relative to its folder.
        split: ``"train"``, or ``"val"`` for one centre crop.

    Raises:
        ImportError: If MMAction2 or what it needs is missing.
    """
    logging.disable(logging.WARNING)  # It reports deprecations.
    import cv2
    from mmaction.datasets import VideoDataset
    from mmengine.registry import init_default_scope

    cv2.setNumThreads(0)  # As its default_runtime.py does.
    init_default_scope("mmaction")
    is_val = split == "val"
    scales = {"scales": (1, 0.875, 0.75, 0.66), "max_wh_scale_gap": 1, "num_fixed_crops": 13}
    augmentation = [
        {"type": "MultiScaleCrop", "input_size": 224, "random_crop": False, **scales},
        {"type": "Resize", "scale": (224, 224), "keep_ratio": False},
        {"type": "Flip", "flip_ratio": 0.5},
    ]
    pipeline = [
        {"type": "DecordInit", "io_backend": "disk"},
        {"type": "SampleFrames", "clip_len": 1, "frame_interval": 1, "num_clips": 8, "test_mode": is_val},
        {"type": "DecordDecode"},
        {"type": "Resize", "scale": (-1, 256)},
        *([{"type": "CenterCrop", "crop_size": 224}] if is_val else augmentation),
        {"type": "FormatShape", "input_format": "NCHW"},
        {"type": "PackActionInputs"},
    ]
    dataset = VideoDataset(
        ann_file=str(list_file),
        pipeline=pipeline,
        data_prefix={"video": str(list_file.parent)},
        test_mode=is_val,
    )
    dataset[0]  # Some warnings come with the first file.
    logging.disable(logging.NOTSET)
    return dataset


def versions_of(packages: Sequence[str]) -> str:
    """Name the versions of packages, and which are absent."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} absent")
    return ", ".join(found)
