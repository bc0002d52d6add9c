import numpy as np
import pytest
import torch
from PIL import Image
from support.videos import write_video

from tsn_tsm_plugin.config import load_cfg
from tsn_tsm_plugin.tools import show_batch as tool
from tsn_tsm_plugin.visualization.contact_sheet import SheetClip, draw_contact_sheet

_LABELS = {"a.mp4": "0 to the left", "b.mp4": "1 to the right"}


@pytest.fixture
def recipe(tmp_path):
    """Three videos, the last of which is missing; labels 0 and 1 are each other's mirror image."""
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", 12)
    (tmp_path / "list.txt").write_text("a.mp4 0\nb.mp4 1\nmissing.mp4 2\n")
    (tmp_path / "labels.txt").write_text("to the left\nto the right\nstill\n")
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"""
MODEL: {{NUM_CLASSES: 3}}
DATA:
  PATH_TO_DATA_DIR: {tmp_path}
  TRAIN_LIST: list.txt
  VAL_LIST: list.txt
  LABEL_MAP: labels.txt
  FLIP_LABEL_PAIRS: [[0, 1]]
  NUM_FRAMES: 4
  TRAIN_SHORT_SIDE: 32
  TRAIN_CROP_SIZE: 32
  TEST_SHORT_SIDE: 32
  TEST_CROP_SIZE: 32
TRAIN: {{BATCH_SIZE: 3}}
DATA_LOADER: {{NUM_WORKERS: 0}}
"""
    )
    return str(path)


@pytest.fixture
def drawn(monkeypatch):
    """Arguments of the drawing."""
    sheets = []

    def record(clips, **keywords):
        sheets.append((clips, keywords))
        return draw_contact_sheet(clips, **keywords)

    monkeypatch.setattr("tsn_tsm_plugin.visualization.contact_sheet.draw_contact_sheet", record)
    return sheets


def test_a_training_sheet_names_labels_files_mirrors_and_unreadable_videos(recipe, drawn, tmp_path):
    mirrored = set()
    for epoch in range(8):
        tool.show_batch(load_cfg(recipe), "train", tmp_path / "sheet.png", epoch=epoch)
        clips = {clip.note.split(": ")[0].split("/")[-1]: clip for clip in drawn[-1][0]}
        assert set(clips) == {"a.mp4", "b.mp4", "missing.mp4"}
        assert clips["a.mp4"].views.shape == (1, 3, 4, 32, 32)
        assert clips["missing.mp4"].caption == "unreadable"
        mirrored.add(clips["a.mp4"].caption)
    assert mirrored == {"0 to the left", "1 to the right (mirrored from 0 to the left)"}
    assert drawn[0][1]["heading"] == "TSM, train split, epoch 0, 4 frames of a view"
    assert "MultiScaleCrop" in drawn[0][1]["details"]


def test_several_labels_are_named_each_and_mixed_too(recipe, drawn, tmp_path):
    (tmp_path / "list.txt").write_text("a.mp4 0 2\nb.mp4 1 2\n")
    cfg = load_cfg(recipe, ["DATA.MULTI_LABEL=true", "DATA.RANDOM_FLIP=false"])
    tool.show_batch(cfg, "val", tmp_path / "sheet.png")
    assert [clip.caption for clip in drawn[-1][0]] == ["0 to the left + 2 still", "1 to the right + 2 still"]

    mixed = ["DATA.MULTI_LABEL=true", "MIXUP.ENABLE=true", "MIXUP.ALPHA=1.0", "MIXUP.CUTMIX_ALPHA=0.0"]
    tool.show_batch(load_cfg(recipe, [*mixed, "DATA.RANDOM_FLIP=false"]), "train", tmp_path / "sheet.png")
    assert all("100% 2 still" in clip.caption for clip in drawn[-1][0])


def test_a_training_sheet_shows_what_the_dataset_gives(recipe, drawn, tmp_path):
    from tsn_tsm_plugin.data.build import build_dataset
    from tsn_tsm_plugin.data.samplers import SampleKey

    tool.show_batch(load_cfg(recipe), "train", tmp_path / "sheet.png", epoch=2)
    shown = next(clip for clip in drawn[0][0] if clip.note == "a.mp4")
    assert torch.equal(shown.views[0], build_dataset(load_cfg(recipe), "train")[SampleKey(2, 0)]["video"])


def test_mixed_clips_are_shown_with_their_shares(recipe, drawn, tmp_path):
    opts = ["MIXUP.ENABLE=true", "MIXUP.ALPHA=8", "MIXUP.CUTMIX_ALPHA=0", "DATA.RANDOM_FLIP=false"]
    captions = set()
    for epoch in range(4):
        tool.show_batch(load_cfg(recipe, opts), "train", tmp_path / "sheet.png", epoch=epoch)
        captions |= {clip.caption for clip in drawn[-1][0]}
    assert any("% 0 to the left + " in caption for caption in captions)
    for clip in drawn[-1][0]:
        if clip.views is not None:
            shares = dict(reversed(part.split("% ")) for part in clip.caption.split(" + "))
            files = dict(reversed(part.split("% ")) for part in clip.note.split(" + "))
            assert shares == {_LABELS[name]: share for name, share in files.items()}


@pytest.mark.parametrize("name", ["sheet.xyz", "sheet"])
def test_a_file_that_is_no_picture_is_refused_by_name(recipe, tmp_path, capsys, name):
    assert tool.main(["--cfg", str(recipe), "--out", str(tmp_path / name)]) == 2
    assert f"--out must be a picture such as sheet.png, got {tmp_path / name}" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_a_test_sheet_has_a_named_row_for_every_view(recipe, drawn, tmp_path):
    opts = ["TEST.NUM_SPATIAL_CROPS=3", "TEST.NUM_ENSEMBLE_VIEWS=2"]
    path = tool.show_batch(load_cfg(recipe, opts), "test", tmp_path / "new" / "sheet.png", num_clips=1)
    (clip,) = drawn[0][0]
    assert (clip.caption, clip.note) == ("0 to the left", "a.mp4")
    assert clip.views.shape == (6, 3, 4, 32, 32)
    crops, times = ("first crop", "last crop", "middle crop"), ("segment centres", "segment starts")
    assert clip.view_names == [f"{crop}, {time}" for crop in crops for time in times]
    with Image.open(path) as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize(
    ("num_crops", "expected"),
    [
        (1, ["window 1", "window 2"]),
        (10, ["upper left, mirrored, window 1", "upper left, mirrored, window 2"]),
    ],
)
def test_dense_windows_and_mirrored_crops_have_names(recipe, drawn, tmp_path, num_crops, expected):
    opts = ["DATA.SAMPLER=dense", "TEST.NUM_ENSEMBLE_VIEWS=2", f"TEST.NUM_SPATIAL_CROPS={num_crops}"]
    tool.show_batch(load_cfg(recipe, opts), "test", tmp_path / "sheet.png", num_clips=1)
    names = drawn[0][0][0].view_names
    assert len(names) == 2 * num_crops and names[:4][-2:] == expected


def test_the_command_prints_the_file_and_reports_mistakes_in_a_line(recipe, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert tool.main(["--cfg", recipe, "--split", "val", "--out", str(out), "--num-clips", "2"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert tool.main(["--cfg", recipe, "--out", str(out), "DATA.PATH_TO_DATA_DIR", "/nowhere"]) == 2
    assert "error: DATA.PATH_TO_DATA_DIR must be an existing folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.main(["--cfg", recipe, "--num-clips", "0"])


def test_frames_stand_in_a_row_in_order_and_views_below_each_other():
    views = torch.zeros(2, 3, 3, 8, 8, dtype=torch.uint8)
    views[:, 0] = torch.tensor([[10, 60, 110], [160, 200, 240]]).view(2, 3, 1, 1)  # shades of pure red
    sheet = draw_contact_sheet(
        [SheetClip("label", "file", views, ("one", "two"))], heading="Heading", details="", frame_px=40
    )
    rows = [row[(row[:, 1:] == 0).all(1), 0].tolist() for row in np.asarray(sheet)]
    seen = list(dict.fromkeys(tuple(dict.fromkeys(row)) for row in rows if row))
    assert seen == [(10, 60, 110), (160, 200, 240)]


def test_long_details_are_wrapped_to_the_sheet():
    views = torch.zeros(1, 3, 4, 8, 8, dtype=torch.uint8)
    sizes = [
        draw_contact_sheet(
            [SheetClip("label", "file", views)], heading="Heading", details="word " * count, frame_px=40
        ).size
        for count in (1, 100)
    ]
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]
