import csv
import io
import json

import pytest
import torch
from support.trained import CLASS_NAMES, write_checkpoint
from support.videos import write_video

from tsn_tsm_plugin.data.build import build_dataset
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.inference.format_predictions import format_predictions
from tsn_tsm_plugin.inference.trained_model import load_trained
from tsn_tsm_plugin.inference.video_predictor import VideoPrediction, find_videos
from tsn_tsm_plugin.transforms import Normalize


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return load_trained(write_checkpoint(tmp_path_factory.mktemp("predict") / "w.pt"))


def test_files_folders_and_patterns_are_found_once_each(tmp_path):
    names = ["a.mp4", "b/c.avi", "b/d/e.MKV", "b/notes.txt", "b/.c.7.unfinished.avi", "f.bin"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_videos(
        [str(tmp_path / "f.bin"), str(tmp_path / "b"), str(tmp_path / "*.mp4"), str(tmp_path)]
    )
    relative = [path.removeprefix(f"{tmp_path}/") for path in found]
    assert relative == ["f.bin", "b/c.avi", "b/d/e.MKV", "a.mp4"]


@pytest.mark.parametrize("name", ["nothing/*.mp4", "missing.mp4"])
def test_a_name_that_means_no_video_is_refused(name):
    with pytest.raises(VideoError, match="no video there"):
        find_videos([name])


def test_the_views_of_the_recipe_are_taken(tmp_path):
    weights = write_checkpoint(tmp_path / "w.pt")
    video = str(write_video(tmp_path / "v.mp4", 20))
    one = load_trained(weights)
    more = load_trained(weights, opts=["TEST.NUM_ENSEMBLE_VIEWS", "2", "TEST.NUM_SPATIAL_CROPS", "10"])
    first, second = (trained.predictor(video).probabilities for trained in (one, more))
    assert first.sum() == pytest.approx(1, abs=1e-5) and second.sum() == pytest.approx(1, abs=1e-5)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("in_decoder", [False, True])
def test_a_video_is_scored_as_in_the_test_of_its_recipe(tmp_path, in_decoder):
    video = write_video(tmp_path / "v.mp4", 20)
    (tmp_path / "val.txt").write_text("v.mp4 0\n")
    opts = ["DATA.SCALE_IN_DECODER", str(in_decoder), "DATA.PATH_TO_DATA_DIR", str(tmp_path)]
    trained = load_trained(write_checkpoint(tmp_path / "w.pt"), opts=opts)
    clip = build_dataset(trained.cfg, "test")[0]["video"][None].to(trained.device)
    normalize = Normalize(trained.cfg.DATA.MEAN, trained.cfg.DATA.STD).to(trained.device)
    with torch.inference_mode():
        expected = trained.model(normalize(clip)).softmax(1)[0].cpu()

    predicted = trained.predictor(str(video)).probabilities

    torch.testing.assert_close(predicted, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_probabilities_sum_to_one_however_views_are_averaged(tmp_path, average):
    trained = load_trained(write_checkpoint(tmp_path / "w.pt"), opts=["TEST.VIEW_AVERAGE", average])
    prediction = trained.predictor(str(write_video(tmp_path / "v.mp4", 6)))
    assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_a_video_that_cannot_be_read_names_the_reason(trained, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    prediction = trained.predictor(str(broken))
    assert "cannot be opened" in prediction.error and prediction.probabilities.numel() == 0


@pytest.fixture
def predictions():
    return [
        VideoPrediction("a, b.mp4", torch.tensor([0.1, 0.7, 0.2])),
        VideoPrediction("bad.mp4", torch.empty(0), "bad.mp4: is damaged"),
    ]


def test_the_table_names_the_most_likely_classes_and_unreadable_videos(predictions, trained):
    lines = format_predictions(predictions, trained, count=2, form="table").splitlines()
    assert lines[2].split() == ["a,", "b.mp4", "70.0", "%", "closing"]
    assert lines[3].split() == ["20.0", "%", "neither", "of", "the", "two"]
    assert lines[4].split() == ["bad.mp4", "-", "unreadable"]
    assert lines[5] == "bad.mp4: is damaged"


def test_json_and_csv_hold_the_same(predictions, trained):
    rows = json.loads(format_predictions(predictions, trained, count=2, form="json"))
    assert rows[0]["top"][0] == {"class": CLASS_NAMES[1], "probability": pytest.approx(0.7)}
    assert rows[1] == {"video": "bad.mp4", "error": "bad.mp4: is damaged"}
    table = list(csv.DictReader(io.StringIO(format_predictions(predictions, trained, count=2, form="csv"))))
    assert [(row["video"], row["rank"], row["class"]) for row in table] == [
        ("a, b.mp4", "1", CLASS_NAMES[1]),
        ("a, b.mp4", "2", CLASS_NAMES[2]),
        ("bad.mp4", "", ""),
    ]
    assert table[2]["error"] == "bad.mp4: is damaged"
