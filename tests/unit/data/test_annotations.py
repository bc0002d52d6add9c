import os
import re

import pytest

from tsn_tsm_plugin.data.annotations import label_map_hash, read_label_map, read_video_list
from tsn_tsm_plugin.errors import AnnotationError


@pytest.fixture
def written(tmp_path):
    def write(content, name="list.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_each_line_is_a_name_and_a_label_and_the_prefix_makes_the_path(written):
    entries = read_video_list(written("a.mp4 0\nsub/b.mp4 12\n"), prefix="/data/videos")

    assert [(entry.name, entry.path, entry.label) for entry in entries] == [
        ("a.mp4", "/data/videos/a.mp4", 0),
        ("sub/b.mp4", "/data/videos/sub/b.mp4", 12),
    ]


def test_a_line_of_frames_is_a_folder_their_number_and_a_label(written):
    (first, second) = read_video_list(written("a 12 0\nmy video 7 3\n"), prefix="/f", has_frame_counts=True)

    assert first == ("a", "/f/a", 0, 12)
    assert second == ("my video", "/f/my video", 3, 7)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("a 3", "must be 'path frames label', got 'a 3'"),
        ("a many 3", "number of frames must be an integer, got 'many'"),
        ("a -1 3", "number of frames must not be negative, got -1"),
    ],
)
def test_a_faulty_line_of_frames_is_named_with_its_number(written, line, fault):
    path = written(f"{line}\n")

    with pytest.raises(AnnotationError, match=re.escape(f"{path}:1: {fault}")):
        read_video_list(path, has_frame_counts=True)


def test_a_video_without_a_label_is_a_negative_in_lists_with_several_labels(written):
    lines = read_video_list(written("a.mp4 1\nb.mp4\n"), num_classes=2, multi_label=True)
    of_frames = read_video_list(written("b 30\n"), multi_label=True, has_frame_counts=True)
    records = read_video_list(written('[{"filename": "b", "label": []}]', name="l.json"), multi_label=True)

    assert [entry.label for entry in (*lines, *of_frames, *records)] == [(1,), (), (), ()]


def test_a_line_may_end_with_several_labels(written):
    entries = read_video_list(written("a.mp4 5 1 5\nb.mp4 0\n"), num_classes=6, multi_label=True)
    of_frames = read_video_list(written("a 30 5 1\n"), multi_label=True, has_frame_counts=True)

    assert [(entry.name, entry.label) for entry in entries] == [("a.mp4", (1, 5)), ("b.mp4", (0,))]
    assert of_frames == [("a", "a", (1, 5), 30)]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("my b.mp4 1", "label must be an integer, got 'b.mp4'"),
        ("b.mp4 1 9", "label must be below the number of classes, 6, got 9"),
        ("a.mp4 1 2", "'a.mp4' has label (1, 2), but label (1,) on line 1"),
    ],
)
def test_a_faulty_line_with_several_labels_is_named(written, line, fault):
    path = written(f"a.mp4 1\n{line}\n")

    with pytest.raises(AnnotationError, match=re.escape(f"{path}:2: {fault}")):
        read_video_list(path, num_classes=6, multi_label=True)


def test_json_annotations_of_mmaction2_are_read(written):
    path = written(
        '[{"frame_dir": "a b", "total_frames": 7, "label": 3},'
        ' {"filename": "c", "total_frames": 2, "label": [1]}]',
        name="list.json",
    )

    assert read_video_list(path, prefix="/f", has_frame_counts=True) == [
        ("a b", "/f/a b", 3, 7),
        ("c", "/f/c", 1, 2),
    ]
    assert [entry.num_frames for entry in read_video_list(path)] == [0, 0]
    assert [entry.label for entry in read_video_list(path, multi_label=True)] == [(3,), (1,)]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("[{]", ":1: is no JSON (Expecting property name"),
        ('{"a": 1}', ": must hold a list, got dict."),
        ("[]", ": must list at least one video"),
        ('[{"frame_dir": "a", "total_frames": 3, "label": 0}, 7]', ":1: must be an object, got 7"),
        (
            '[{"total_frames": 3, "label": 0}]',
            ":0: must have 'frame_dir', 'total_frames' and 'label' with one",
        ),
        ('[{"frame_dir": "a", "total_frames": 3, "label": [0, 1]}]', ":0: must have 'frame_dir', 'total"),
        ('[{"frame_dir": "a", "total_frames": "x", "label": 0}]', ":0: number of frames must be an integer"),
        ('[{"frame_dir": "a\\ud800", "total_frames": 3, "label": 0}]', ":0: path must not hold NUL or an"),
        ('[{"frame_dir": "a", "total_frames": 3}]', ":0: label must be an integer, got None"),
        ('[{"frame_dir": "a", "total_frames": 3, "label": 1.5}]', ":0: label must be an integer, got 1.5"),
    ],
)
def test_faulty_json_annotations_are_named_with_their_element(written, content, fault):
    path = written(content, name="list.json")

    with pytest.raises(AnnotationError, match=re.escape(f"{path}{fault}")):
        read_video_list(path, has_frame_counts=True)


def test_an_absolute_name_ignores_the_prefix(written):
    (entry,) = read_video_list(written("/elsewhere/a.mp4 3\n"), prefix="/data")

    assert entry.path == "/elsewhere/a.mp4"


def test_spaces_belong_to_the_name_because_the_label_stands_last(written):
    entries = read_video_list(written("clip one (final).mp4 4\nwithout_extension  5\ntab.mp4\t6\n"))

    assert [(entry.name, entry.label) for entry in entries] == [
        ("clip one (final).mp4", 4),
        ("without_extension", 5),
        ("tab.mp4", 6),
    ]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a.mp4 1\r\nb.mp4 2\r\n", id="crlf"),
        pytest.param(b"\xef\xbb\xbfa.mp4 1\nb.mp4 2", id="byte order mark, no last line end"),
        pytest.param(b"\na.mp4 1\n   \nb.mp4 2\n\n", id="blank lines"),
    ],
)
def test_editors_may_leave_their_traces(written, content):
    assert [(e.name, e.label) for e in read_video_list(written(content))] == [("a.mp4", 1), ("b.mp4", 2)]


def test_another_separator_splits_at_its_last_occurrence(written):
    (entry,) = read_video_list(written("a,b c.mp4,7\n"), separator=",")

    assert (entry.name, entry.label) == ("a,b c.mp4", 7)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("b.mp4", "must be 'path label', got 'b.mp4'"),
        ("7", "must be 'path label', got '7'"),
        (
            "b.mp4,1",
            "must be 'path label', got 'b.mp4,1'. Separate them by white space or set DATA.PATH_LABEL_",
        ),
        ("b.mp4 cat", "label must be an integer, got 'cat'"),
        ("b.mp4 1.0", "label must be an integer, got '1.0'"),
        ("b.mp4 -1", "label must not be negative, got -1"),
        ("b.mp4 8", "label must be below the number of classes, 8, got 8"),
        ("a.mp4 1", "'a.mp4' has label 1, but label 0 on line 1"),
    ],
)
def test_a_faulty_line_is_named_with_its_number(written, line, fault):
    path = written(f"a.mp4 0\n\n{line}\n")

    with pytest.raises(AnnotationError, match=re.escape(f"{path}:3: {fault}")):
        read_video_list(path, num_classes=8)


def test_all_faults_are_reported_together_up_to_ten(written):
    path = written("no_label\n" * 12)

    with pytest.raises(AnnotationError) as error:
        read_video_list(path)

    lines = str(error.value).splitlines()
    assert [line.split(": ")[0] for line in lines[:-1]] == [f"{path}:{number}" for number in range(1, 11)]
    assert lines[-1] == "... and 2 more"


def test_a_repeated_line_is_kept_and_warned_about(written, caplog):
    path = written("a.mp4 0\nb.mp4 1\na.mp4 0\n")

    assert [entry.name for entry in read_video_list(path)] == ["a.mp4", "b.mp4", "a.mp4"]
    assert "lists 1 videos more than once" in caplog.text


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_list_is_an_error(written, content):
    path = written(content)

    with pytest.raises(AnnotationError, match=re.escape(f"{path}: must list at least one video")):
        read_video_list(path)


def test_a_missing_or_unreadable_list_is_an_error_with_its_path(tmp_path, written):
    with pytest.raises(
        AnnotationError, match=re.escape(f"{tmp_path}/none.txt: cannot be read (No such file")
    ):
        read_video_list(tmp_path / "none.txt")
    with pytest.raises(AnnotationError, match="must be UTF-8 text, got byte 0xff at offset 6"):
        read_video_list(written(b"a.mp4 \xff\n"))


def test_a_label_map_names_label_i_on_line_i(written):
    assert read_label_map(written("move left\r\nmove right\r\n\r\n")) == ["move left", "move right"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", ": must hold one class name per line, got an empty file"),
        ("a\n\nb\n", ":2: class name must not be blank"),
        ("a\nb\na\n", ":3: class names must differ, got 'a' as on line 1"),
    ],
)
def test_a_faulty_label_map_is_an_error(written, content, fault):
    path = written(content)

    with pytest.raises(AnnotationError, match=re.escape(f"{path}{fault}")):
        read_label_map(path)


def test_the_hash_of_a_label_map_sees_names_and_their_order():
    assert label_map_hash(["a", "b"]) == label_map_hash(("a", "b"))
    assert len({label_map_hash(names) for names in (["a", "b"], ["b", "a"], ["a", "c"], ["a"])}) == 4
    # Checkpoints store it, so it must not change between versions: printf 'a\nb' | sha256sum
    assert label_map_hash(["a", "b"]).startswith("7e18f737311b")


@pytest.mark.parametrize("label", ["0_1", "+1", "\u0661", "9" * 30])
def test_a_label_is_plain_digits(tmp_path, label):
    (tmp_path / "list.txt").write_text(f"a.mp4 {label}\n", encoding="utf-8")
    with pytest.raises(AnnotationError, match="label must be an integer"):
        read_video_list(tmp_path / "list.txt")


def test_true_is_no_label(tmp_path):
    (tmp_path / "list.json").write_text('[{"filename": "a.mp4", "label": true}]')
    with pytest.raises(AnnotationError, match="label must be an integer, got True"):
        read_video_list(tmp_path / "list.json")


def test_a_list_that_is_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "list.txt")
    with pytest.raises(AnnotationError, match="a named pipe is not a regular file"):
        read_video_list(tmp_path / "list.txt")
