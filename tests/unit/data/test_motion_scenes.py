import numpy as np
import pytest
import torch

from tsn_tsm_plugin.data.motion.scenes import CLASS_NAMES, CLASS_PAIRS, Scene, draw_scene, render_scene
from tsn_tsm_plugin.transforms.segments import segment_indices


def scene_of(pair, seed=0):
    return draw_scene(np.random.default_rng(seed), pair=pair)


def object_mask(scene):
    """Return the mask of pixels that differ from the background, bool (T, H, W)."""
    background = (scene.background * 255).permute(1, 2, 0).numpy()
    return np.abs(render_scene(scene) - background).max(-1) > 8


def spot_scene(*, angle):
    """A dark disc with one bright spot at the right of its own axes, turned by an angle, on grey."""
    axis = torch.linspace(-1, 1, 65)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    spot = ((x - 0.6).hypot(y) < 0.2).float()
    return Scene(
        fps=25,
        background=torch.full((3, 64, 96), 0.5),
        object_texture=torch.stack([spot, spot, spot, 1.0 - x.hypot(y)]),
        centers=np.array([[48.0, 32.0]]),
        angles=np.array([angle]),
        radii=np.array([20.0]),
    )


@pytest.mark.parametrize(
    ("quarters", "x", "y"),
    [(0, 60, 32), (1, 48, 44), (2, 36, 32), (3, 48, 20)],
    ids=["right", "down", "left", "up"],
)
def test_a_positive_angle_turns_clockwise_on_the_screen(quarters, x, y):
    (frame,) = render_scene(spot_scene(angle=quarters * np.pi / 2))

    rows, columns = np.nonzero(frame[..., 0] > 200)

    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx((x, y), abs=0.6)


@pytest.mark.parametrize("seed", range(3))
def test_what_a_scene_shows_forwards_is_what_its_first_class_names(seed):
    left, up, clockwise, grow = (scene_of(pair, seed) for pair in range(4))

    def middle(scene, axis):
        return [np.nonzero(mask)[axis].mean() for mask in object_mask(scene)[[0, -1]]]

    assert np.subtract(*middle(left, axis=1)) > 10
    assert np.subtract(*middle(up, axis=0)) > 10
    assert (np.diff(clockwise.angles) > 0).all()
    assert np.divide(*object_mask(grow)[[-1, 0]].sum((1, 2))) > 2
    assert [pair[0] for pair in CLASS_PAIRS] == ["move_left", "move_up", "turn_clockwise", "grow"]
    assert CLASS_NAMES[:2] == ("move_left", "move_right")


@pytest.mark.parametrize("pair", range(4))
def test_only_the_motion_of_the_pair_changes(pair):
    scene = scene_of(pair)
    changing = [
        np.ptp(scene.centers[:, 0]),
        np.ptp(scene.centers[:, 1]),
        np.ptp(scene.angles),
        np.ptp(scene.radii),
    ]

    assert [bool(value > 0) for value in changing] == [index == pair for index in range(4)]


def test_a_turn_between_two_sampled_frames_is_far_from_half_a_circle():
    for seed in range(50):
        scene = scene_of(2, seed)
        for mode in ("train", "test"):
            indices = segment_indices(len(scene.angles), 8, mode=mode)
            assert np.diff(scene.angles[indices]).max() < 0.5 * np.pi


def test_the_frames_sampled_from_a_video_and_from_its_mirror_in_time_are_the_same_set():
    lengths = {len(scene_of(0, seed).radii) for seed in range(50)}

    assert len(lengths) == 3
    for num_frames in lengths:
        indices = segment_indices(num_frames, 8, mode="test")
        assert sorted((num_frames - 1 - indices).tolist()) == indices.tolist()


def test_training_may_draw_every_frame_of_a_video_so_that_no_end_is_favoured():
    for seed in range(20):
        num_frames = len(scene_of(0, seed).radii)
        generator = torch.Generator().manual_seed(0)
        drawn = [segment_indices(num_frames, 8, mode="train", generator=generator) for _ in range(200)]

        assert set(torch.cat(drawn).tolist()) == set(range(num_frames))


def test_a_scene_depends_on_its_seed_alone():
    assert np.array_equal(render_scene(scene_of(3, seed=5)), render_scene(scene_of(3, seed=5)))
    assert not np.array_equal(scene_of(3, seed=5).radii, scene_of(3, seed=6).radii)
