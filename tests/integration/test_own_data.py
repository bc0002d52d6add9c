"""From a folder of videos to predictions: inspected, divided, trained, tested and used by one command."""

import pytest
import yaml
from support.runs import TinyBackbone, tiny_backbone  # noqa: F401  # Registers the backbone.
from support.videos import numbered_frames, write_video

from tsn_tsm_plugin.config import load_cfg
from tsn_tsm_plugin.data.preparation.own_data import group_function, prepare_own_data, read_class_folders
from tsn_tsm_plugin.errors import AnnotationError, ConfigError
from tsn_tsm_plugin.tools import predict, train

SMALL = ["SOLVER.MAX_EPOCH", "1", "DATA.TRAIN_SHORT_SIDE", "32", "DATA.TRAIN_CROP_SIZE", "32",
         "DATA.TEST_SHORT_SIDE", "32", "DATA.TEST_CROP_SIZE", "32", "DATA_LOADER.NUM_WORKERS", "0",
         "DATA.NUM_FRAMES", "2", "TENSORBOARD.ENABLE", "False"]  # fmt: skip


def fill(folder, classes=("still", "slow"), count=5):
    for stride, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            frames = numbered_frames(5 * stride + index + 1, height=36, width=48)
            numbers = [index + stride * t for t in range(6)]
            write_video(folder / name / f"clip_{index}.mp4", [frames[n] for n in numbers])
    return folder


@pytest.fixture
def videos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return fill(tmp_path / "my gestures")


def test_one_command_trains_tests_and_names_the_command_that_uses_the_network(videos, capsys):
    code = train.main(["--data", str(videos), "--backbone", "tiny", "--backbone-weights", "", *SMALL])
    said = capsys.readouterr()
    assert code == 0
    assert "Use the network: tsn-tsm-predict --weights runs/tsm/my_gestures_tsm_tiny VIDEO" in said.out
    assert "top-1" in said.err
    run = "runs/tsm/my_gestures_tsm_tiny"
    assert predict.main(["--weights", run, str(videos / "still" / "clip_0.mp4")]) == 0
    assert "still" in capsys.readouterr().out


def test_the_recipe_that_was_written_runs_by_itself(videos, tmp_path, capsys):
    recipe = prepare_own_data(videos, backbone="tiny")
    cfg = load_cfg(recipe)
    assert cfg.MODEL.NUM_CLASSES == 2 and cfg.MODEL.BACKBONE == "tiny"
    assert cfg.DATA.PATH_TO_DATA_DIR.startswith("/")
    assert train.main(["--cfg", str(recipe), *SMALL]) == 0


def test_an_unreadable_video_is_named_and_skipped(videos, caplog):
    (videos / "still" / "broken.mp4").write_bytes(b"no video")
    recipe = prepare_own_data(videos, backbone="tiny")
    assert "broken" not in (recipe.parent / "train.txt").read_text()
    assert "broken.mp4" in (recipe.parent / "report.json").read_text()
    assert "broken.mp4: cannot be opened as a video" in caplog.text


def test_train_val_and_test_folders_are_kept_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        fill(tmp_path / "mine" / split, count=count)
    cfg = load_cfg(prepare_own_data(tmp_path / "mine", backbone="tiny"))
    assert (cfg.DATA.TRAIN_LIST, cfg.DATA.VAL_LIST, cfg.DATA.TEST_LIST) == (
        "train.txt",
        "val.txt",
        "test.txt",
    )
    lines = [
        len((tmp_path / "datasets/mine" / f"{s}.txt").read_text().splitlines())
        for s in ("train", "val", "test")
    ]
    assert lines == [6, 4, 2]


def test_lists_that_exist_are_used(videos):
    (videos / "labels.txt").write_text("still\nslow\n")
    (videos / "train.txt").write_text("still/clip_0.mp4 0\nslow/clip_0.mp4 1\n")
    cfg = load_cfg(prepare_own_data(videos, backbone="tiny"))
    assert cfg.DATA.PATH_TO_DATA_DIR == str(videos)
    assert cfg.DATA.VAL_LIST == ""
    assert cfg.TRAIN.BATCH_SIZE == 1


def test_two_folders_of_one_name_do_not_share_files(videos, tmp_path):
    other = fill(tmp_path / "elsewhere" / "my gestures", count=2)
    first, second = prepare_own_data(videos), prepare_own_data(other)
    assert first.parent != second.parent
    assert prepare_own_data(videos) == first


@pytest.mark.parametrize("fraction", [-1.0, 1.0, 2.0, float("nan")])
def test_a_fraction_that_is_none_is_refused(videos, fraction):
    with pytest.raises(AnnotationError, match="--val-fraction must be at least 0 and below 1"):
        read_class_folders(videos, val_fraction=fraction)


def test_groups_stay_together(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for subject in range(6):
            for take in range(3):
                (tmp_path / name / f"s{subject}_{take}.mp4").touch()
    splits = read_class_folders(tmp_path, val_fraction=0.3, group_of=group_function(r"s\d+")).splits
    subjects = {
        split: {video.names[0].split("/")[1].split("_")[0] for video in videos}
        for split, videos in splits.items()
    }
    assert not subjects["train"] & subjects["val"]
    assert subjects["val"]


def test_groups_come_from_a_file_too(tmp_path):
    (tmp_path / "groups.txt").write_text("one.mp4 anna\ntwo.mp4 anna\n")
    group_of = group_function(str(tmp_path / "groups.txt"))
    assert group_of(tmp_path / "one.mp4") == group_of(tmp_path / "two.mp4") == "anna"
    with pytest.raises(ConfigError, match="--groups must be a file or a regular expression"):
        group_function("(")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either --cfg RECIPE or --data FOLDER"),
        (["--data", "nowhere"], "--data nowhere: no such folder"),
        (["--data", "my gestures", "--method", "lstm"], "--method must be one of tsm, tsn, got lstm"),
        (["--data", "my gestures", "--val-fraction", "2"], "--val-fraction must be at least 0 and below 1"),
        (["--data", "."], "must hold folders of two classes or more, got 'my gestures' alone"),
        (["--data", "my gestures/still"], "must hold one folder of videos for each class"),
        (["my gestures"], "give either --cfg RECIPE or --data FOLDER; did you mean --data my gestures?"),
        (["mine.yaml"], "give either --cfg RECIPE or --data FOLDER; did you mean --cfg mine.yaml?"),
    ],
)
def test_mistakes_are_one_line_before_weights_are_fetched(videos, capsys, monkeypatch, words, message):
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda url, *_, **__: pytest.fail(url))
    assert train.main(words) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_dataset_that_was_prepared_can_be_given(videos, tmp_path):
    from tsn_tsm_plugin.tools import prepare_dataset

    out = tmp_path / "prepared"
    assert prepare_dataset.main(["folder", "--videos", str(videos), "--out", str(out)]) == 0
    cfg = load_cfg(prepare_own_data(out, backbone="tiny"))
    assert yaml.safe_load((out / "dataset.yaml").read_text())["MODEL"]["NUM_CLASSES"] == cfg.MODEL.NUM_CLASSES
    assert cfg.DATA.PATH_PREFIX == str(videos)
