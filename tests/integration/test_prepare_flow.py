"""``prepare_dataset flow``: optical flow of videos whose motion is known."""

import json

import numpy as np
import pytest
from support.videos import write_video

from tsn_tsm_plugin.data.annotations import read_video_list
from tsn_tsm_plugin.data.frame_folder import FlowFolderReader
from tsn_tsm_plugin.data.preparation import flow
from tsn_tsm_plugin.data.preparation.flow import FlowExtraction
from tsn_tsm_plugin.tools import prepare_dataset

cv2 = pytest.importorskip("cv2")
SPEED = 3


def moving_frames(count: int) -> list[np.ndarray]:
    """Return a smooth random picture that moves right by SPEED pixels a frame."""
    picture = np.random.RandomState(0).randint(0, 256, (64, 160, 3)).astype(np.uint8)
    picture = cv2.GaussianBlur(picture, (0, 0), 3)
    picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
    return [picture[:, 60 - SPEED * number : 140 - SPEED * number] for number in range(count)]


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "videos" / "sub").mkdir(parents=True)
    write_video(tmp_path / "videos" / "a.mp4", moving_frames(8))
    write_video(tmp_path / "videos" / "sub" / "b.mp4", moving_frames(1))
    (tmp_path / "videos" / "c.mp4").write_bytes(b"no video")
    (tmp_path / "train.txt").write_text("a.mp4 1\nsub/b.mp4 0\nc.mp4 0\n")
    return tmp_path


def prepare(folder, *options: str) -> int:
    return prepare_dataset.main(
        ["flow", "--list", str(folder / "train.txt"), "--videos", str(folder / "videos"), "--out"]
        + [str(folder / "out"), "--method", "dis", "--num-workers", "0", *options]
    )


@pytest.mark.parametrize("method", ["dis", pytest.param("tvl1", marks=pytest.mark.extras)])
def test_motion_to_the_right_is_above_128_in_x_and_none_in_y(dataset, method):
    if method == "tvl1" and not hasattr(cv2, "optflow"):
        pytest.skip("OpenCV lacks its contributed modules")
    assert prepare(dataset, "--method", method) == 0
    entries = read_video_list(str(dataset / "out" / "train.txt"), prefix="", has_frame_counts=True)
    listed = [(entry.name, entry.num_frames, entry.label) for entry in entries]
    assert listed == [("a", 7, 1), ("sub/b", 1, 0)]
    fields = FlowFolderReader(dataset / "out" / "flow" / "a").read(range(7)).float()
    expected = 128 + SPEED / 20 * 127.5
    assert abs(float(fields[:, 0].median()) - expected) <= 3
    assert abs(float(fields[:, 1].median()) - 128) <= 2
    still = FlowFolderReader(dataset / "out" / "flow" / "sub" / "b").read([0])
    assert still.unique().tolist() == [128]


def test_a_run_that_was_stopped_goes_on_with_what_is_missing(dataset, monkeypatch):
    assert prepare(dataset) == 0
    computed = []
    open_video_file = flow.open_video_file

    def counted(entry):
        computed.append(entry.name)
        return open_video_file(entry)

    monkeypatch.setattr(flow, "open_video_file", counted)
    (dataset / "out" / "flow" / "a" / "flow.json").unlink()
    assert prepare(dataset) == 0
    assert computed == ["a.mp4", "c.mp4"]
    assert prepare(dataset, "--bound", "10") == 0
    assert json.loads((dataset / "out" / "flow" / "a" / "flow.json").read_text())["bound"] == 10.0


def test_layouts_with_a_folder_for_each_axis_are_written(dataset):
    assert prepare(dataset, "--template", "{}/{:05}.png", "--num-workers", "2") == 0
    assert (dataset / "out" / "flow" / "a" / "y" / "00007.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bound", "0"], "bound must be more than 0"),
        (["--template", "img_{:05}.jpg"], "must hold a field for x or y"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(dataset, capsys, options, message):
    assert prepare(dataset, *options) == 2
    said = capsys.readouterr().err
    assert message in said and not (dataset / "out").exists()


def test_tvl1_without_the_contributed_modules_names_the_extra(monkeypatch):
    monkeypatch.delattr(cv2, "optflow", raising=False)
    with pytest.raises(ImportError, match=r"pip install tsn_tsm_plugin\[flow\]"):
        FlowExtraction(method="tvl1").algorithm()


def test_no_readable_video_at_all_is_an_error(dataset, capsys):
    (dataset / "train.txt").write_text("c.mp4 0\n")
    assert prepare(dataset) == 2
    assert "no video of the lists can be read" in capsys.readouterr().err
    assert flow.METHODS == ("tvl1", "dis")
