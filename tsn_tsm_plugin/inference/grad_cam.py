"""grad_cam, explain_video: Grad-CAM heat maps of the frames that a network reads.

Axes: T frames, C features, H rows, W columns, K classes; h, w: size of the last feature map.
Source: Selvaraju et al., "Grad-CAM", ICCV 2017, arXiv:1610.02391, equations 1 and 2.
"""

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from PIL import Image
from torch import Tensor, nn

from tsn_tsm_plugin.data.reader import DEFAULT_FPS
from tsn_tsm_plugin.inference.preprocessing import check_takes_frames
from tsn_tsm_plugin.inference.trained_model import TrainedModel, frame_features
from tsn_tsm_plugin.visualization.contact_sheet import SheetClip, draw_contact_sheet
from tsn_tsm_plugin.visualization.drawing import clock, percent

_FRAME_PX = 224
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
    """Return a sheet with the sampled frames of a video, in rows of four, and a heat map below each frame.

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
    maps_THW = _enlarged(cells, video).cpu().numpy()
    step = -(-len(view.indices) // len(maps_THW))
    images_THWC = view.clip.permute(1, 2, 3, 0).numpy()[::step]
    heated_THWC = [heated(image, heat) for image, heat in zip(images_THWC, maps_THW, strict=True)]
    views = torch.from_numpy(np.stack([images_THWC, np.stack(heated_THWC)])).permute(0, 4, 1, 2, 3)
    times = [f"{clock(index / fps, length=length)}  frame {index}" for index in view.indices[::step]]
    rows = [slice(first, first + _COLUMNS) for first in range(0, len(times), _COLUMNS)]
    return draw_contact_sheet(
        [SheetClip("   ".join(times[row]), "", views[:, :, row], ("frames", "heat maps")) for row in rows],
        heading=f"{trained.class_names[label]}  {percent(float(probabilities[label]))}",
        details=f"{path}: Grad-CAM of the last features, {cells.shape[2]} x {cells.shape[1]} cells a frame",
        frame_px=_FRAME_PX,
    )


def heated(image_HWC: np.ndarray, heat_HW: np.ndarray) -> np.ndarray:
    """Return an image, uint8 RGB, in grey, overlaid with the heat map in [0, 1] in colour."""
    grey = np.asarray(Image.fromarray(image_HWC).convert("L"), np.float32)[..., None] * 0.7
    colour = np.asarray(colormaps["inferno"](heat_HW)[..., :3], np.float32) * 255
    alpha = heat_HW[..., None] * 0.6
    return (grey * (1 - alpha) + colour * alpha).clip(0, 255).astype(np.uint8)
