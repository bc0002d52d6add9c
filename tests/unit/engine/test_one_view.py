import pytest
import torch
from support.trained import write_checkpoint
from support.videos import write_video

from tsn_tsm_plugin.data.build import build_dataset
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.inference import preprocessing as module
from tsn_tsm_plugin.inference.trained_model import load_trained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view")
    write_video(folder / "v.mp4", 60, fps=10)
    (folder / "val.txt").write_text("v.mp4 0\n")
    write_checkpoint(folder / "w.pt")
    return folder


def load(folder, *opts):
    return load_trained(folder / "w.pt", opts=["DATA.PATH_TO_DATA_DIR", str(folder), *opts])


@pytest.mark.parametrize(
    ("opts", "middle", "num_views"),
    [
        ((), 0, 1),
        (("TEST.NUM_ENSEMBLE_VIEWS", "2"), 0, 2),
        (("DATA.SAMPLER", "dense", "DATA.DENSE_WINDOW", "16", "TEST.NUM_ENSEMBLE_VIEWS", "5"), 2, 5),
        (("DATA.TEST_SAMPLER", "dense", "DATA.DENSE_WINDOW", "16", "TEST.NUM_ENSEMBLE_VIEWS", "1"), 0, 1),
        (("DATA.SCALE_IN_DECODER", "True"), 0, 1),
    ],
    ids=["uniform", "twice", "dense", "dense in testing", "scaled in the decoder"],
)
def test_it_is_the_view_in_the_middle_of_those_that_testing_takes(folder, opts, middle, num_views):
    trained = load(folder, *opts)
    expected = build_dataset(trained.cfg, "test")[0]["video"].tensor_split(num_views, 1)[middle]

    view = trained.preprocessing.read_view(str(folder / "v.mp4"), split="test")

    assert torch.equal(view.clip, expected)
    assert len(view.indices) == expected.shape[1]
    assert (view.num_frames, view.fps) == (60, 10.0)


def test_testing_may_look_at_more_frames_than_validation(folder):
    weights = write_checkpoint(folder / "tsn.pt", "MODEL.ARCH", "tsn", "TEST.NUM_FRAMES", "6")
    trained = load_trained(weights)
    shapes = [
        trained.preprocessing.read_view(str(folder / "v.mp4"), split=split).clip.shape
        for split in ("val", "test")
    ]
    assert shapes == [(3, 4, 32, 32), (3, 6, 32, 32)]


def test_it_is_read_with_the_decoder_of_the_recipe(folder, monkeypatch):
    asked = []
    reader = module.VideoReader
    monkeypatch.setattr(
        module, "VideoReader", lambda *args, **kw: asked.append(kw["decoder"]) or reader(*args, **kw)
    )
    load(folder, "DATA.DECODING_BACKEND", "pyav").preprocessing.read_view(str(folder / "v.mp4"), split="val")
    assert asked == ["pyav"]


def test_a_file_that_is_no_video_is_named(folder):
    with pytest.raises(VideoError, match="w.yaml"):
        load(folder).preprocessing.read_view(str(folder / "w.yaml"), split="val")
