"""grad_cam, explain_video, contact_sheet: Grad-CAM heat maps of the frames that a network reads.

Axes: T frames, C features, H rows, W columns, K classes; h, w: size of the last feature map.
Source: Selvaraju et al., "Grad-CAM", ICCV 2017, arXiv:1610.02391, equations 1 and 2.
"""

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from PIL import Image, ImageDraw
from torch import Tensor, nn

from tsn_tsm_plugin.data.reader import DEFAULT_FPS
from tsn_tsm_plugin.inference.preprocessing import check_takes_frames
from tsn_tsm_plugin.inference.trained_model import TrainedModel, frame_features
from tsn_tsm_plugin.visualization.drawing import FAINT, INK, PAPER, clock, fit, font, percent

_CELL = 224
_GAP = 10
_COLUMNS = 4


def grad_cam(model: nn.Module, video_BCTHW: Tensor, label: int) -> Tensor:
    """Return the evidence for a class at each position of each frame.

    Each feature map is weighted by the mean gradient of the class score. Negative values of the weighted sum
    are set to zero.

    Args:
        model: A TSN or TSM in eval mode.
        video_BCTHW: One normalised clip, B = 1.
        label: The class.

    Returns:
        (T', H, W) in [0, 1], with 1 at the maximum; all zero without positive evidence. T' is T, or
        ceil(T / 2) for a network that pools frames.
    """
    return _enlarged(_cells(model, video_BCTHW, label), video_BCTHW)


def _cells(model: nn.Module, video_BCTHW: Tensor, label: int) -> Tensor:
    """Return the evidence at the resolution of the last feature map, (T', h, w)."""
    with torch.no_grad():
        features = frame_features(model, video_BCTHW)
    features = features.detach().requires_grad_()
    with torch.enable_grad():
        score = model.get_submodule("head")(features)[0, label]
        (gradient,) = torch.autograd.grad(score, features)
    weights = gradient.mean((3, 4), keepdim=True)
    return F.relu((weights * features.detach()).sum(1))[0].float()


def _enlarged(maps_Thw: Tensor, video_BCTHW: Tensor) -> Tensor:
    # Bilinear interpolation would show the cells of a small map. Bicubic may undershoot.
    size = video_BCTHW.shape[-2:]
    maps_THW = F.interpolate(maps_Thw[None], size, mode="bicubic", align_corners=False)[0].clamp(min=0)
    return maps_THW / maps_THW.max().clamp(min=1e-12)


def explain_video(trained: TrainedModel, path: str, label: int | None = None) -> Image.Image:
    """Return a sheet with the sampled frames of a video and a heat map below each frame.

    Args:
        trained: The network. It reads the frames of the middle validation view of its recipe.
        path: The video.
        label: Class of the heat maps; ``None``: the most likely class.

    Raises:
        VideoError: If the video cannot be read.
    """
    check_takes_frames(trained.cfg, "Grad-CAM")
    view = trained.preprocessing.read_view(path, split="val")
    fps = view.fps or DEFAULT_FPS
    length = view.num_frames / fps
    video = trained.preprocessing.normalize(view.clip[None].to(trained.device))
    with torch.no_grad():
        probabilities = trained.probabilities(trained.model(video)[0]).cpu()
    label = int(probabilities.argmax()) if label is None else label
    cells = _cells(trained.model, video, label)
    maps = _enlarged(cells, video).cpu().numpy()
    step = -(-len(view.indices) // len(maps))
    images = view.clip.permute(1, 2, 3, 0).numpy()[::step]
    title = f"{trained.class_names[label]}  {percent(float(probabilities[label]))}"
    times = [f"{clock(index / fps, length=length)}  frame {index}" for index in view.indices[::step]]
    note = f"Grad-CAM of the last features, {cells.shape[2]} x {cells.shape[1]} cells to a frame"
    return contact_sheet(images, maps, title=title, subtitle=path, captions=times, note=note)


def contact_sheet(
    images_THWC: np.ndarray,
    maps_THW: np.ndarray,
    *,
    title: str,
    subtitle: str,
    captions: list[str],
    note: str = "Grad-CAM of the last features",
) -> Image.Image:
    """Lay out frames in rows of four, each above a copy with its heat map.

    Args:
        images_THWC: Frames, uint8 RGB.
        maps_THW: Heat maps in [0, 1].
        title: First line.
        subtitle: Second line.
        captions: One caption for each frame.
        note: Text in the lower right corner.
    """
    columns = min(_COLUMNS, len(images_THWC))
    rows = -(-len(images_THWC) // columns)
    head, foot, margin = 84, 34, 24
    width = max(2 * margin + columns * (_CELL + _GAP) - _GAP, 480)
    block = 2 * _CELL + 2 + foot
    sheet = Image.new("RGB", (width, head + rows * block + 26), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((margin, 18), fit(title, width - 2 * margin, font(22, bold=True)), INK, font(22, bold=True))
    draw.text((margin, 52), fit(subtitle, width - 2 * margin, font(13)), FAINT, font(13))
    for index, (image, heat, caption) in enumerate(zip(images_THWC, maps_THW, captions, strict=True)):
        left = margin + index % columns * (_CELL + _GAP)
        top = head + index // columns * block
        plain = Image.fromarray(image).resize((_CELL, _CELL), Image.Resampling.BICUBIC)
        sheet.paste(plain, (left, top))
        sheet.paste(heated(plain, heat), (left, top + _CELL + 2))
        draw.text((left, top + 2 * _CELL + 8), caption, FAINT, font(12))
    draw.text((width - margin, sheet.height - 14), note, FAINT, font(11), anchor="rm")
    return sheet


def heated(image: Image.Image, heat_HW: np.ndarray) -> Image.Image:
    """Return the image in grey, overlaid with the heat map in colour."""
    heat = np.asarray(Image.fromarray((heat_HW * 255).astype(np.uint8)).resize(image.size)) / 255.0
    grey = np.asarray(image.convert("L").convert("RGB"), np.float32) * 0.7
    colour = np.asarray(colormaps["inferno"](heat)[..., :3], np.float32) * 255
    alpha = heat[..., None] * 0.6
    return Image.fromarray((grey * (1 - alpha) + colour * alpha).clip(0, 255).astype(np.uint8))
