"""Scene, draw_scene, render_scene: scenes of one moving object; only the frame order shows the class.

A scene is a textured blob over a textured background that moves, turns or changes size. Played forwards it
shows one class of a pair, played backwards the other. Axes: T frames, H rows, W columns, channels last.

A network without temporal modelling cannot learn the classes:

- Both directions of every scene are written, so each set of frames belongs to both classes of its pair.
- The number of frames is an odd multiple of 8. The centres of 8 (or 16) segments are then the same frames in
  both directions. Training with 8 segments then skips no frame at the end of a video. With other lengths the
  frames of a video and of its reverse would differ, and reveal the class.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

# Pairs of classes; the second class of a pair is the first played backwards.
CLASS_PAIRS = (
    ("move_left", "move_right"),
    ("move_up", "move_down"),
    ("turn_clockwise", "turn_counter_clockwise"),
    ("grow", "shrink"),
)
CLASS_NAMES = tuple(name for pair in CLASS_PAIRS for name in pair)

_NUM_FRAMES = (24, 40, 56)
_FPS = (12, 15, 24, 25, 30)
_SIDES_PX = (96, 160)
_TEXTURE_PX = 64
# Slope of the opacity at the outline, per radius: the outline fades over a pixel or two, without aliasing.
_EDGE_STEEPNESS = 24.0


@dataclass(frozen=True)
class Scene:
    """One scene, ready to be rendered.

    Attributes:
        fps: Frames per second.
        background: (3, H, W) float in [0, 1].
        object_texture: (4, h, w) float, RGB in [0, 1] and a mask that is positive inside the blob.
        centers: (T, 2) x and y of the object, in pixels.
        angles: (T,) radians, positive clockwise as seen on the screen.
        radii: (T,) pixels; the outline lies at about 0.8 of the radius.
    """

    fps: int
    background: Tensor
    object_texture: Tensor
    centers: NDArray[np.float64]
    angles: NDArray[np.float64]
    radii: NDArray[np.float64]


def _texture(rng: np.random.Generator, height: int, width: int, *, cells: tuple[int, ...]) -> Tensor:
    """Draw smooth colour noise (3, height, width) in [0, 1], a sum of octaves with ``cells`` cells each."""
    total = torch.zeros(3, height, width)
    for octave, num_cells in enumerate(cells):
        grid = torch.from_numpy(rng.uniform(-1.0, 1.0, (1, 3, num_cells, num_cells)).astype(np.float32))
        layer = functional.interpolate(grid, size=(height, width), mode="bicubic", align_corners=True)[0]
        total += layer / 2**octave
    low, high = total.amin((1, 2), keepdim=True), total.amax((1, 2), keepdim=True)
    return (total - low) / (high - low)


def _blob(rng: np.random.Generator) -> Tensor:
    """Draw a texture with an irregular outline (4, h, w); channel 3 is ``outline - distance``, in radii."""
    axis = np.linspace(-1.0, 1.0, _TEXTURE_PX)
    x, y = np.meshgrid(axis, axis)
    phi, distance = np.arctan2(y, x), np.hypot(x, y)
    outline = np.full_like(phi, 0.78)
    # Harmonics 1 to 3 together leave no rotational symmetry.
    for harmonic, strength in ((1, 0.06), (2, 0.09), (3, 0.06)):
        outline += strength * np.cos(harmonic * phi + rng.uniform(0.0, 2.0 * np.pi))
    mask = torch.from_numpy((outline - distance).astype(np.float32))
    return torch.cat([_texture(rng, _TEXTURE_PX, _TEXTURE_PX, cells=(4, 7)), mask[None]])


def draw_scene(rng: np.random.Generator, *, pair: int) -> Scene:
    """Draw a scene that shows the first class of a pair.

    Args:
        rng: Source of every choice.
        pair: Position in ``CLASS_PAIRS``.
    """
    num_frames = int(rng.choice(_NUM_FRAMES))
    fps = int(rng.choice(_FPS))
    height, width = (2 * int(half) for half in rng.integers(_SIDES_PX[0] // 2, _SIDES_PX[1] // 2 + 1, 2))
    side = min(height, width)
    # From -1/2 to +1/2: the values drawn below are at the middle of the motion.
    progress = np.linspace(-0.5, 0.5, num_frames)
    center = np.array([width, height]) / 2 + side * rng.uniform(-0.12, 0.12, 2)
    centers = np.repeat(center[None], num_frames, axis=0)
    angles = np.full(num_frames, rng.uniform(0.0, 2.0 * np.pi))
    radii = np.full(num_frames, side * np.exp(rng.uniform(np.log(0.24), np.log(0.4))))
    if pair in (0, 1):
        centers[:, pair] -= side * rng.uniform(0.35, 0.6) * progress
    elif pair == 2:
        angles += rng.uniform(0.8 * np.pi, 1.5 * np.pi) * progress
    else:
        radii *= rng.uniform(2.2, 3.2) ** progress
    # Lower contrast than the object, so that a small network finds the object within a few epochs.
    contrast = rng.uniform(0.2, 0.5)
    background = (1.0 - contrast) * rng.uniform() + contrast * _texture(rng, height, width, cells=(5, 9))
    return Scene(
        fps=fps,
        background=background,
        object_texture=_blob(rng),
        centers=centers,
        angles=angles,
        radii=radii,
    )


def _pixel_to_texture(
    center: NDArray[np.float64], angle: float, radius: float, *, height: int, width: int
) -> Tensor:
    """Return the affine map (1, 2, 3) from frame to texture, both in [-1, 1] from edge to edge.

    The map moves the object's centre to the origin, rotates back by the angle and divides by the radius. As y
    points down, a positive angle rotates clockwise on the screen.
    """
    half = np.array([width, height]) / 2
    turn_back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / radius
    shift = turn_back @ (half - center)
    return torch.from_numpy(np.column_stack([turn_back * half, shift]).astype(np.float32))[None]


def render_scene(scene: Scene) -> NDArray[np.uint8]:
    """Render the frames of a scene, forwards.

    Returns:
        (T, H, W, 3) uint8 RGB.
    """
    _, height, width = scene.background.shape
    frames = np.empty((len(scene.radii), height, width, 3), dtype=np.uint8)
    for index, (center, angle, radius) in enumerate(
        zip(scene.centers, scene.angles, scene.radii, strict=True)
    ):
        affine = _pixel_to_texture(center, angle, radius, height=height, width=width)
        grid = functional.affine_grid(affine, [1, 1, height, width], align_corners=False)
        sampled = functional.grid_sample(
            scene.object_texture[None], grid, padding_mode="border", align_corners=True
        )[0]
        alpha = (sampled[3] * _EDGE_STEEPNESS + 0.5).clamp_(0.0, 1.0)
        frame = torch.lerp(scene.background, sampled[:3], alpha)
        frames[index] = (frame * 255.0 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()
    return frames
