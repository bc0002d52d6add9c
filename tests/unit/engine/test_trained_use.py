"""One call to load a trained network, and what it offers."""

import pytest
import torch
from support.trained import CLASS_NAMES, write_checkpoint
from support.videos import write_video

from tsn_tsm_plugin import create_tsm, load_trained
from tsn_tsm_plugin.errors import VideoError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("use")
    for name, length in (("a", 20), ("b", 30), ("c", 25)):
        write_video(folder / f"{name}.mp4", length, fps=10)
    (folder / "broken.mp4").write_bytes(b"no video")
    write_checkpoint(folder / "w.pt", "TEST.NUM_ENSEMBLE_VIEWS", "2")
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    return load_trained(folder / "w.pt")


def test_a_video_gives_names_and_probabilities_with_a_short_repr(trained, folder):
    prediction = trained.predict(folder / "a.mp4")

    assert {name for name, _ in prediction.top()} == set(CLASS_NAMES)
    assert sum(p for _, p in prediction.top()) == pytest.approx(1)
    assert prediction.label == prediction.top(1)[0][0]
    assert f"{prediction.label} {100 * prediction.top(1)[0][1]:.1f} %" in repr(prediction)
    assert len(repr(prediction)) < len(str(folder)) + 200
    assert "<table>" in prediction._repr_html_()


def test_a_list_gives_what_each_gives_alone_whatever_the_batch(trained, folder):
    paths = [folder / f"{name}.mp4" for name in "abc"]
    alone = [trained.predict(path).probabilities for path in paths]

    together = trained.predict(paths, batch_size=2)

    for prediction, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(prediction.probabilities, expected, rtol=1e-4, atol=1e-5)


def test_in_a_list_what_cannot_be_read_is_named_and_the_rest_is_predicted(trained, folder):
    found = trained.predict([folder / "broken.mp4", folder / "a.mp4", folder / "none.mp4"], batch_size=3)

    assert [bool(prediction.error) for prediction in found] == [True, False, True]
    assert "broken.mp4: not read" in repr(found)
    assert "none.mp4" in found[2].error
    assert "not read" in found._repr_html_()


def test_folders_and_patterns_stand_for_their_videos(trained, folder):
    assert len(trained.predict([folder])) == 4
    assert [p.path[-5:] for p in trained.predict([f"{folder}/[ab].mp4"])] == ["a.mp4", "b.mp4"]


def test_one_video_that_cannot_be_read_raises(trained, folder):
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        trained.predict(folder / "broken.mp4")


def test_a_batch_of_no_video_is_refused(trained, folder):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        trained.predict([folder / "a.mp4"], batch_size=0)


def test_features_classify_as_the_network_does(trained, folder):
    frames = trained.features(folder / "a.mp4", of="frame")
    clip = trained.features(folder / "a.mp4")

    assert frames.shape == (4, 512)
    torch.testing.assert_close(clip, frames.mean(0))
    view = trained.preprocessing.read_view(str(folder / "a.mp4"), split="test").clip
    torch.testing.assert_close(trained.model.head.fc(frames).mean(0), trained(view[None])[0])


def test_calling_normalises_uint8_and_takes_floats_as_they_are(trained):
    video = torch.randint(0, 256, (1, 3, 4, 32, 32), dtype=torch.uint8)

    assert torch.equal(trained(video), trained(trained.preprocessing.normalize(video)))


def test_a_bare_network_refuses_uint8_and_names_the_way_on():
    model = create_tsm(backbone="resnet18", num_classes=2, num_segments=2)

    with pytest.raises(TypeError, match=r"normalised floats, got torch\.uint8.*Normalize"):
        model(torch.zeros(1, 3, 2, 32, 32, dtype=torch.uint8))


def test_the_repr_is_one_short_line(trained):
    assert len(repr(trained)) < 500
    assert "\n" not in repr(trained)
    assert "resnet18" in repr(trained)
