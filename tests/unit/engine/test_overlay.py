import av
import numpy as np
import pytest
from support.videos import sequential_frames, write_video

from tsn_tsm_plugin.visualization.annotate_video import ScoreTimeline, annotate_video
from tsn_tsm_plugin.visualization.drawing import SERIES, clock, fit, font, percent
from tsn_tsm_plugin.visualization.score_overlay import ScoreOverlay, colours_of


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 %"), (0.004, "<1 %"), (0.126, "13 %"), (0.996, ">99 %"), (1.0, "100 %")],
)
def test_a_probability_is_never_rounded_to_certainty(value, text):
    assert percent(value) == text


def test_times_are_written_as_players_do():
    assert [clock(7.9), clock(61), clock(3723)] == ["0:07", "1:01", "1:02:03"]
    assert clock(0.44, length=2.0) == "0.4 s"


def test_a_name_that_is_too_long_ends_in_an_ellipsis_and_fits():
    name = "Pushing something from left to right until it falls off the table"
    cut = fit(name, 120, font(14))
    assert cut.endswith("…") and name.startswith(cut[:-1].rstrip()) and font(14).getlength(cut) <= 120
    assert fit("short", 120, font(14)) == "short"


def test_the_classes_that_peak_highest_get_the_colours():
    probabilities = np.zeros((3, 8))
    probabilities[0, 2], probabilities[1, 5], probabilities[2, 7] = 0.9, 0.8, 0.7
    assert list(colours_of(probabilities).items()) == [(2, SERIES[0]), (5, SERIES[1]), (7, SERIES[2])]


def test_a_class_that_is_never_seen_above_the_axis_gets_no_line():
    assert list(colours_of(np.array([[0.985, 0.015, 0.0], [0.975, 0.02, 0.005]]))) == [0, 1]


def picture(
    width: int, height: int, names: list[str], probabilities: np.ndarray
) -> tuple[np.ndarray, ScoreOverlay]:
    overlay = ScoreOverlay(names, width=width, height=height)
    colours = colours_of(probabilities[None])
    strip = overlay.timeline(np.array([0.0, 4.0]), np.stack([probabilities] * 2), colours, begin=0.0, end=4.0)
    strip = overlay.with_playhead(strip, overlay.x_of(2.0, 0.0, 4.0), label="0:02")
    frame = np.full((height, width, 3), 200, np.uint8)
    return overlay.draw(frame, probabilities, colours, strip, note="4 ms"), overlay


@pytest.mark.parametrize(("width", "height"), [(64, 48), (1920, 1080), (340, 256), (101, 333), (1000, 20)])
def test_pictures_of_every_shape_have_even_sides_and_room_for_the_text(width, height):
    shown, overlay = picture(width, height, ["a", "b"], np.array([0.3, 0.7]))
    assert shown.shape == (overlay.height + overlay.strip_height, overlay.width, 3)
    assert shown.shape[0] % 2 == shown.shape[1] % 2 == 0
    assert 360 <= overlay.height <= 720 and overlay.width >= 320


def test_the_bar_of_the_top_class_is_as_long_as_its_probability_and_has_its_colour():
    lengths = []
    for probability in (0.4, 0.8):
        shown, _ = picture(640, 360, ["a", "b", "c"], np.array([probability, (1 - probability) / 2, 0.05]))
        frame = shown[:360]
        lengths.append(int((frame == SERIES[0]).all(-1).any(0).sum()))
    assert lengths[1] == pytest.approx(2 * lengths[0], abs=2)


def test_what_lies_behind_the_playhead_is_brighter_than_what_lies_ahead():
    shown, overlay = picture(640, 360, ["a", "b"], np.array([0.9, 0.1]))
    strip = shown[360:].astype(int)
    middle = round(overlay.x_of(2.0, 0.0, 4.0))
    assert strip[:, middle - 100 : middle - 10].max() > 1.5 * strip[:, middle + 10 : middle + 100].max()


def test_an_annotated_video_has_the_frames_of_the_video_and_their_rate(tmp_path):
    source = write_video(tmp_path / "in.mp4", 9, fps=12)
    course = ScoreTimeline(np.array([2.0, 6.0]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    out = tmp_path / "out.mp4"
    done = list(annotate_video(str(source), course, out, names=["a", "b"], fps=12.0, num_frames=9))
    assert done == list(range(9))
    frames = sequential_frames(out)
    assert len(frames) == 9 and frames.shape[-1] == 480
    with av.open(str(out)) as container:
        assert float(container.streams.video[0].average_rate) == 12
