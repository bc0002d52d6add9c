"""The official annotation files of each dataset, in tiny copies."""

import re

import pytest
from support.official_files import (
    JESTER_LABELS,
    KINETICS,
    STHV2_LABELS,
    sthv2_item,
    write_files,
    write_jester,
    write_sthv2,
)

from tsn_tsm_plugin.data.preparation.annotations import AnnotatedVideo, VideoFiles, mirror_pairs, turn_pairs
from tsn_tsm_plugin.data.preparation.catalog import (
    OFFICIAL_DATASETS,
    read_diving48,
    read_hmdb51,
    read_jester,
    read_kinetics,
    read_sthv1,
    read_sthv2,
    read_ucf101,
)
from tsn_tsm_plugin.data.preparation.own_data import read_class_folders
from tsn_tsm_plugin.errors import AnnotationError


def test_kinetics_labels_are_alphabetical_and_files_named_by_id_and_seconds(tmp_path):
    write_files(
        tmp_path,
        {
            "train.csv": KINETICS.format(split="train"),
            "validate.csv": KINETICS.format(split="validate"),
            "test.csv": "label,youtube_id,time_start,time_end,split\n,abcdefghijk,1,11,test\n",
        },
    )

    names, splits = read_kinetics(tmp_path)

    assert names == ["air drumming", "petting animal (not cat)", "testifying"]
    assert splits["train"] == [
        AnnotatedVideo(("---QUuC4vJs_000084_000094", "---QUuC4vJs"), 2),
        AnnotatedVideo(("-0_3bxe_EmA_000003_000013", "-0_3bxe_EmA"), 0),
        AnnotatedVideo(("-1q7jA3DXQM_000150_000160", "-1q7jA3DXQM"), 1),
    ]
    assert splits["val"] == splits["train"]
    assert splits.keys() == {"train", "val"}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("label,youtube_id\n", ":1: must have the columns youtube_id, time_start, time_end, split"),
        ("youtube_id,time_start,time_end,split\na,1,11,val\n", ":1: must have the column label"),
        (
            KINETICS.format(split="dev"),
            ":2: split must be one of train, val, validate, validation, test, got 'dev'",
        ),
        (
            KINETICS.format(split="val").replace("84", "x"),
            ":2: time_start and time_end must be seconds, got 'x'",
        ),
    ],
)
def test_a_faulty_line_of_kinetics_is_named(tmp_path, content, fault):
    write_files(tmp_path, {"val.csv": content})

    with pytest.raises(AnnotationError, match=re.escape(f"{tmp_path}/val.csv{fault}")):
        read_kinetics(tmp_path)


def test_the_official_test_list_of_kinetics_which_has_no_labels_is_skipped(tmp_path):
    files = {"train.csv": KINETICS.format(split="train"), "val.csv": KINETICS.format(split="validate")}
    write_files(tmp_path, files | {"test.csv": "youtube_id,time_start,time_end,split\nabc,1,11,test\n"})

    annotations = read_kinetics(tmp_path)

    assert sorted(annotations.splits) == ["train", "val"]
    assert all(annotations.splits.values())


def test_what_systems_leave_in_folders_of_annotations_is_not_read(tmp_path):
    files = {"train.csv": KINETICS.format(split="train"), "val.csv": KINETICS.format(split="val")}
    write_files(tmp_path, files | {"._train.csv": "\0\5\26\7", ".DS_Store": "\0"})
    (tmp_path / "__MACOSX").mkdir()
    write_files(tmp_path / "__MACOSX", {"more.csv": "\0"})

    assert len(read_kinetics(tmp_path).splits["train"]) == 3


def test_a_bracketed_template_is_the_class_without_its_brackets(tmp_path):
    similar = "Putting [something similar to other things that are already on the table]"
    write_sthv2(
        tmp_path,
        train=[sthv2_item(78687, "Pulling [something] from left to right"), sthv2_item(42, similar)],
        val=[sthv2_item(9, "Approaching [something] with your camera")],
    )

    names, splits = read_sthv2(tmp_path)

    assert names == list(STHV2_LABELS)
    assert splits == {
        "train": [AnnotatedVideo(("78687",), 1), AnnotatedVideo(("42",), 3)],
        "val": [AnnotatedVideo(("9",), 0)],
    }


def test_the_newer_files_of_sthv2_are_found_by_their_names(tmp_path):
    write_files(
        tmp_path / "labels",
        {
            "labels.json": STHV2_LABELS,
            "train.json": [sthv2_item(1, "Pulling [something] from left to right")],
            "validation.json": [],
        },
    )

    assert read_sthv2(tmp_path).splits["train"] == [AnnotatedVideo(("1",), 1)]


def test_a_class_outside_the_label_file_is_named(tmp_path):
    write_sthv2(tmp_path, train=[sthv2_item(1, "Eating [something]")], val=[])

    with pytest.raises(
        AnnotationError, match="train.json: element 0: label 'Eating something' is not among the 6 classes"
    ):
        read_sthv2(tmp_path)


@pytest.mark.parametrize(
    ("name", "read"), [("something-something-v1", read_sthv1), ("jester-v1", read_jester)]
)
def test_semicolon_files_have_no_header_and_the_line_of_a_class_is_its_label(tmp_path, name, read):
    write_jester(
        tmp_path, train="34870;No gesture\n56557;Swiping Left\n", val="129112;Swiping Down\n", name=name
    )

    names, splits = read(tmp_path)

    assert names == JESTER_LABELS.splitlines()
    assert splits == {
        "train": [AnnotatedVideo(("34870",), 5), AnnotatedVideo(("56557",), 0)],
        "val": [AnnotatedVideo(("129112",), 2)],
    }


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("34870,No gesture", "must be 'id;class', got '34870,No gesture'"),
        ("34870;No gestures", "label 'No gestures' is not among the 6 classes"),
    ],
)
def test_a_faulty_line_of_a_semicolon_file_is_named(tmp_path, line, fault):
    write_jester(tmp_path, train=f"1;No gesture\n{line}\n", val="")

    with pytest.raises(AnnotationError, match=re.escape(f"jester-v1-train.csv:2: {fault}")):
        read_jester(tmp_path)


def test_diving48_validates_on_its_official_test_split(tmp_path):
    write_files(
        tmp_path,
        {
            "Diving48_vocab.json": [["Back", "15som", "05Twis", "FREE"], ["Back", "15som", "15Twis", "FREE"]],
            "Diving48_V2_train.json": [
                {"vid_name": "-mIFYOUlAgs_00000", "label": 1, "start_frame": 0, "end_frame": 143}
            ],
            "Diving48_V2_test.json": [{"vid_name": "x_00012", "label": 0, "start_frame": 0, "end_frame": 9}],
        },
    )

    names, splits = read_diving48(tmp_path)

    assert names == ["Back 15som 05Twis FREE", "Back 15som 15Twis FREE"]
    assert splits == {
        "train": [AnnotatedVideo(("-mIFYOUlAgs_00000",), 1)],
        "val": [AnnotatedVideo(("x_00012",), 0)],
    }


def test_ucf101_labels_start_at_0_and_the_split_is_chosen(tmp_path):
    write_files(
        tmp_path / "ucfTrainTestlist",
        {
            "classInd.txt": "1 ApplyEyeMakeup\n2 ApplyLipstick\n",
            "trainlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\nApplyLipstick/v_a.avi 2\r\n",
            "testlist01.txt": "ApplyLipstick/v_ApplyLipstick_g01_c01.avi\n",
            "trainlist02.txt": "ApplyLipstick/v_b.avi 2\n",
            "testlist02.txt": "ApplyEyeMakeup/v_c.avi\n",
        },
    )

    names, splits = read_ucf101(tmp_path, split=1)

    assert names == ["ApplyEyeMakeup", "ApplyLipstick"]
    assert splits == {
        "train": [
            AnnotatedVideo(("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01", "v_ApplyEyeMakeup_g08_c01"), 0),
            AnnotatedVideo(("ApplyLipstick/v_a", "v_a"), 1),
        ],
        "val": [AnnotatedVideo(("ApplyLipstick/v_ApplyLipstick_g01_c01", "v_ApplyLipstick_g01_c01"), 1)],
    }
    assert [video.label for video in read_ucf101(tmp_path, split=2).splits["val"]] == [0]


def test_hmdb51_uses_1_for_training_2_for_test_and_0_for_neither(tmp_path):
    write_files(
        tmp_path,
        {
            "brush_hair_test_split1.txt": "April_09_goo_0.avi 1 \nAtheism_nm_0.avi 2 \nBlonde_1.avi 0 \n",
            "cartwheel_test_split1.txt": "(Rad)Schlag_die_Bank!_0.avi 1 \n",
            "cartwheel_test_split2.txt": "other.avi 1 \n",
        },
    )

    names, splits = read_hmdb51(tmp_path)

    assert names == ["brush_hair", "cartwheel"]
    assert splits == {
        "train": [
            AnnotatedVideo(("brush_hair/April_09_goo_0", "April_09_goo_0"), 0),
            AnnotatedVideo(("cartwheel/(Rad)Schlag_die_Bank!_0", "(Rad)Schlag_die_Bank!_0"), 1),
        ],
        "val": [AnnotatedVideo(("brush_hair/Atheism_nm_0", "Atheism_nm_0"), 0)],
    }


@pytest.mark.parametrize("name", sorted(OFFICIAL_DATASETS))
def test_a_folder_without_the_official_files_is_an_error_that_names_them(tmp_path, name):
    with pytest.raises(AnnotationError, match=re.escape(f"{tmp_path}: must hold ")):
        OFFICIAL_DATASETS[name].read(tmp_path)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize("train", ["train", "Training"])
def test_a_divided_folder_of_classes_keeps_its_division(tmp_path, train):
    touch(tmp_path, *(f"{train}/{name}" for name in ("run/a.mp4", "sit/b.AVI", "sit/notes.txt")))
    touch(tmp_path, "val/sit/deep/c.mkv")

    names, splits = read_class_folders(tmp_path)

    assert names == ["run", "sit"]
    assert splits == {
        "train": [AnnotatedVideo((f"{train}/run/a",), 0), AnnotatedVideo((f"{train}/sit/b",), 1)],
        "val": [AnnotatedVideo(("val/sit/deep/c",), 1)],
    }


def test_an_undivided_folder_gives_a_share_of_each_class_that_stays_when_videos_are_added(tmp_path):
    touch(tmp_path, *(f"{name}/{number}.mp4" for name in ("run", "sit") for number in range(10)))

    first = read_class_folders(tmp_path, val_fraction=0.3)
    touch(tmp_path, "run/new.mp4")
    second = read_class_folders(tmp_path, val_fraction=0.3)

    assert [video.label for video in first.splits["val"]] == [0] * 3 + [1] * 3
    assert len(first.splits["train"]) == 14
    assert len(set(first.splits["val"]) & set(second.splits["val"])) >= 5


def test_a_folder_that_holds_no_classes_is_an_error(tmp_path):
    touch(tmp_path, "a.mp4")
    with pytest.raises(AnnotationError, match="must hold one folder of videos for each class"):
        read_class_folders(tmp_path)
    touch(tmp_path, "run/clip/img_00001.jpg")
    with pytest.raises(
        AnnotationError, match="must hold videos, got folders of images.*DATA.FORMAT to frames"
    ):
        read_class_folders(tmp_path)
    touch(tmp_path, "train/run/a.mp4", "val/walk/b.mp4")
    with pytest.raises(
        AnnotationError, match=re.escape("of the classes of") + ".*" + re.escape("got ['walk']")
    ):
        read_class_folders(tmp_path)


def test_classes_that_differ_by_left_and_right_are_mirror_images():
    assert mirror_pairs(list(STHV2_LABELS)) == [(1, 2), (4, 5)]
    assert mirror_pairs(JESTER_LABELS.splitlines()) == [(0, 1)]
    assert mirror_pairs(["Standing upright", "Leftovers", "Moving left"]) == []


def test_classes_that_differ_by_the_sense_of_a_turn_are_distinguished_from_them():
    assert turn_pairs(JESTER_LABELS.splitlines()) == [(3, 4)]


def test_links_to_folders_are_followed_each_folder_once(tmp_path):
    touch(tmp_path, "store/sit/a.mp4", "mine/run/b.mp4")
    (tmp_path / "mine/sit").symlink_to(tmp_path / "store/sit")
    (tmp_path / "mine/run/loop").symlink_to(tmp_path / "mine")

    assert read_class_folders(tmp_path / "mine", val_fraction=0.0).splits["train"] == [
        AnnotatedVideo(("run/b",), 0),
        AnnotatedVideo(("run/loop/sit/a",), 0),
        AnnotatedVideo(("sit/a",), 1),
    ]
    assert VideoFiles(tmp_path / "mine").find(["sit/a", "a"]) is not None


def test_a_video_is_found_by_its_folder_or_by_its_name_if_that_is_the_only_one(tmp_path):
    touch(tmp_path, "x/a.mp4", "y/a.webm", "y/b.mkv")
    files = VideoFiles(tmp_path)

    assert files.find(["x/a"]) == "x/a.mp4"
    assert files.find(["z/b", "b"]) == "y/b.mkv"
    assert files.find(["a"]) is None


def test_two_videos_that_differ_by_their_suffix_only_are_refused(tmp_path):
    touch(tmp_path, "run/a.avi", "run/a.mp4")

    with pytest.raises(
        AnnotationError, match=re.escape("a.mp4: must differ from") + ".*by more than its suffix"
    ):
        read_class_folders(tmp_path)
