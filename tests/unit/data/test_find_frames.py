"""Folders of frames that no list describes: names by the recipe, or by the images themselves."""

import pytest
from support.frame_folders import write_frame_folder
from support.videos import frame_number

from tsn_tsm_plugin.data.frame_folder import USUAL_NAMES, FrameNames, frame_folders_below, open_frame_folder
from tsn_tsm_plugin.errors import VideoError


@pytest.mark.parametrize(
    ("template", "start"),
    [("{}.png", 0), ("frame{:04}.bmp", 8), ("{{a}}_1_{:03}.webp", 1), ("img_{:05}.jpg", 1)],
)
def test_images_are_frames_in_the_order_of_their_numbers(tmp_path, template, start):
    folder = write_frame_folder(tmp_path / "a", 12, template=template, start_index=start)
    reader = open_frame_folder(str(folder), USUAL_NAMES)
    assert (reader.template, reader.start_index, reader.num_frames) == (
        template if "{:" in template else "{:01}.png",
        start,
        12,
    )
    assert [frame_number(frame) for frame in reader.read([0, 11, 10])] == [0, 11, 10]


def test_names_of_the_recipe_choose_among_several_kinds(tmp_path):
    folder = write_frame_folder(tmp_path / "a", 3, template="rgb_{}.jpg")
    write_frame_folder(tmp_path / "b", 4, template="depth_{}.jpg")
    for file in (tmp_path / "b").iterdir():
        file.rename(folder / file.name)
    assert open_frame_folder(str(folder), FrameNames("depth_{}.jpg", 1)).num_frames == 4
    with pytest.raises(
        VideoError, match=r"several kinds \(depth_1.jpg, ..., rgb_3.jpg\).*DATA.FRAME_TEMPLATE"
    ):
        open_frame_folder(str(folder), USUAL_NAMES)


def test_a_missing_frame_and_an_empty_folder_are_named(tmp_path):
    folder = write_frame_folder(tmp_path / "a", 5, template="f{:02}.jpg")
    (folder / "f03.jpg").unlink()
    with pytest.raises(VideoError, match="f03.jpg is missing, but later frames are there"):
        open_frame_folder(str(folder), USUAL_NAMES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match="empty: holds no images"):
        open_frame_folder(str(tmp_path / "empty"), USUAL_NAMES)


def test_folders_x_and_y_of_flow_are_one_video(tmp_path):
    for name in ("a", "b/x", "b/y", "c/x"):
        write_frame_folder(tmp_path / name, 1)
    assert frame_folders_below(tmp_path) == [str(tmp_path / name) for name in ("a", "b", "c/x")]
