"""Draw the input of the network: ``tsn-tsm-show-batch --cfg FILE --out sheet.png``.

The sheet shows clips with labels and file names. For training, it shows the first clips of an epoch,
augmented and mixed as in training. Otherwise it shows the test views of the first videos of a list.
"""

import sys
from collections.abc import Callable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from tsn_tsm_plugin.atomic_files import HINT_FILE, os_errors_as_run_folder_errors, write_atomically
from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.tools.arguments import count, path_here
from tsn_tsm_plugin.tools.command import ToolParser, add_recipe_arguments, read_recipe, run_command

if TYPE_CHECKING:
    from torch import Tensor

    from tsn_tsm_plugin.data.annotations import Label
    from tsn_tsm_plugin.data.collate import BadVideo, ClipDict
    from tsn_tsm_plugin.visualization.contact_sheet import SheetClip

_SHEET_PX = 1600
_FRAME_PX = (56, 128)
_CORNERS = ("upper left", "upper right", "lower left", "lower right", "centre")
_CROP_NAMES = {
    1: ("centre",),
    3: ("first crop", "last crop", "middle crop"),
    10: tuple(chain.from_iterable((corner, f"{corner}, mirrored") for corner in _CORNERS)),
}


def show_batch(cfg: CfgNode, split: str, out: str | Path, *, num_clips: int = 8, epoch: int = 0) -> Path:
    """Write a contact sheet of the first clips of a split.

    Args:
        cfg: The recipe.
        split: ``"train"``, ``"val"`` or ``"test"``.
        out: PNG file to write; its folder is created.
        num_clips: Clips on the sheet, which are also the clips to mix.
        epoch: Epoch of training, from 0, whose order and augmentation are shown.

    Returns:
        The file.

    Raises:
        ConfigError: If the data folder does not exist, or ``out`` is not the name of a picture.
        AnnotationError: If the list file is missing or malformed.
    """
    from PIL import Image

    from tsn_tsm_plugin.data.build import build_loader, read_class_names
    from tsn_tsm_plugin.data.image import encode_image
    from tsn_tsm_plugin.transforms.build import frames_of_view
    from tsn_tsm_plugin.visualization.contact_sheet import draw_contact_sheet

    path = Path(out)
    if path.suffix.lower() not in Image.registered_extensions():
        raise ConfigError(f"--out must be a picture such as sheet.png, got {out}.")
    loader = build_loader(cfg, split)
    loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
    keys = list(islice(chain.from_iterable(loader.batch_sampler), num_clips))  # type: ignore[arg-type]
    samples = [loader.dataset[key] for key in keys]
    listed = [loader.dataset.entries[key.video_index].label for key in keys]  # type: ignore[attr-defined]
    clips = _sheet_clips(cfg, split, samples, listed, read_class_names(cfg), epoch=epoch)
    num_frames = frames_of_view(cfg, split)
    of_epoch = f", epoch {epoch}" if split == "train" else ""
    sheet = draw_contact_sheet(
        clips,
        heading=f"{cfg.MODEL.ARCH.upper()}, {split} split{of_epoch}, {num_frames} frames of a view",
        details=str(loader.dataset.clip_transform),  # type: ignore[attr-defined]
        frame_px=min(max(_SHEET_PX // num_frames, _FRAME_PX[0]), _FRAME_PX[1]),
    )
    with os_errors_as_run_folder_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path, binary=True, hint=HINT_FILE) as file:
        file.write(encode_image(sheet, path.suffix))
    return path


def _sheet_clips(
    cfg: CfgNode,
    split: str,
    samples: "Sequence[ClipDict | BadVideo]",
    listed: "Sequence[Label]",
    class_names: Sequence[str],
    *,
    epoch: int,
) -> "list[SheetClip]":
    from tsn_tsm_plugin.data.collate import BadVideo
    from tsn_tsm_plugin.transforms.build import frames_of_view
    from tsn_tsm_plugin.transforms.modality import to_picture
    from tsn_tsm_plugin.visualization.contact_sheet import SheetClip

    good = [sample for sample in samples if not isinstance(sample, BadVideo)]
    # Differences cannot be converted back to pixels: show other modalities before mixing.
    is_mixed = split == "train" and cfg.MIXUP.ENABLE and cfg.DATA.MODALITY == "rgb"
    mixed = iter(_mix(cfg, good, class_names, epoch=epoch) if is_mixed else ())
    clips = []
    for sample, label in zip(samples, listed, strict=True):
        if isinstance(sample, BadVideo):
            clips.append(SheetClip("unreadable", sample.reason, None))
            continue
        caption = _caption(sample["label"], class_names)
        if sample["label"] != label:
            caption += f" (mirrored from {_caption(label, class_names)})"
        video, caption, note = next(mixed, (sample["video"], caption, sample["video_name"]))
        views = to_picture(video).unflatten(1, (-1, frames_of_view(cfg, split))).transpose(0, 1)
        clips.append(SheetClip(caption, note, views, _view_names(cfg, split, len(views))))
    return clips


def _caption(label: "Label", class_names: Sequence[str]) -> str:
    if isinstance(label, tuple):
        return " + ".join(_caption(one, class_names) for one in label)
    name = class_names[label]
    return name if name == str(label) else f"{label} {name}"


def _mix(
    cfg: CfgNode, clips: "Sequence[ClipDict]", class_names: Sequence[str], *, epoch: int
) -> "list[tuple[Tensor, str, str]]":
    """Return the mixed videos as pixels, with the proportions of labels and of files."""
    import torch

    from tsn_tsm_plugin.data.collate import multi_hot
    from tsn_tsm_plugin.transforms.build import build_batch_transform
    from tsn_tsm_plugin.transforms.normalize import Normalize

    normalize = Normalize(cfg.DATA.MEAN, cfg.DATA.STD)
    mean, std = (values.view(3, 1, 1, 1) for values in (normalize.mean, normalize.std))
    labels = [clip["label"] for clip in clips]
    videos = normalize(torch.stack([clip["video"] for clip in clips]))

    def mixed(of: CfgNode, target: "Tensor") -> "tuple[Tensor, Tensor]":
        mix = build_batch_transform(of)
        assert mix is not None, "called where MIXUP is enabled"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(cfg.RNG_SEED + epoch)
            return mix(videos, target)

    is_several = cfg.DATA.MULTI_LABEL
    video, shares_BK = mixed(
        cfg, multi_hot(labels, num_classes=cfg.MODEL.NUM_CLASSES) if is_several else torch.tensor(labels)
    )
    # Repeat the same draw with the files in place of the classes.
    of_files = cfg.changed({"MODEL.NUM_CLASSES": len(clips), "MIXUP.LABEL_SMOOTH_VALUE": 0.0})
    _, files_BB = mixed(of_files, torch.eye(len(clips)) if is_several else torch.arange(len(clips)))
    pixels = (video * std + mean).round().clamp(0, 255).to(torch.uint8)
    smoothed = cfg.MIXUP.LABEL_SMOOTH_VALUE / cfg.MODEL.NUM_CLASSES
    captions = [
        _proportions(shares, lambda k: _caption(k, class_names), least=smoothed + 5e-3)
        for shares in shares_BK
    ]
    notes = [_proportions(shares, lambda i: clips[i]["video_name"], least=5e-3) for shares in files_BB]
    return list(zip(pixels, captions, notes, strict=True))


def _proportions(shares: "Tensor", name_of: Callable[[int], str], *, least: float) -> str:
    order = shares.argsort(descending=True).tolist()
    return " + ".join(f"{shares[index]:.0%} {name_of(index)}" for index in order if shares[index] > least)


def _view_names(cfg: CfgNode, split: str, num_views: int) -> list[str]:
    """Name the views in their stored order: all views of the first crop, then of the next."""
    crops = _CROP_NAMES[cfg.TEST.NUM_SPATIAL_CROPS if split == "test" else 1]
    num_times = num_views // len(crops)
    if num_times == 1:
        return list(crops)
    if (cfg.DATA.TEST_SAMPLER or cfg.DATA.SAMPLER) == "uniform":
        times = ["segment centres", "segment starts"]
    else:
        times = [f"window {number}" for number in range(1, num_times + 1)]
    return [f"{crop}, {time}" if len(crops) > 1 else time for crop in crops for time in times]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = ToolParser("show_batch", __doc__)
    add_recipe_arguments(parser)
    parser.add_argument("--split", choices=("train", "val", "test"), default="train", help="list to show")
    parser.add_argument("--out", type=path_here, default=Path("sheet.png"), help="PNG to write")
    parser.add_argument("--num-clips", type=count(), default=8, help="clips to show")
    parser.add_argument("--epoch", type=count(0), default=0, help="epoch of training, from 0")
    args = parser.parse_intermixed_args(argv)

    def work() -> None:
        path = show_batch(read_recipe(args), args.split, args.out, num_clips=args.num_clips, epoch=args.epoch)
        print(path)

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
