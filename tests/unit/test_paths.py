"""Names below folders are joined as pathlib joins them, and URLs stay as they are."""

from pathlib import Path

import pytest

from tsn_tsm_plugin.paths import join


@pytest.mark.parametrize("folder", ["", ".", "/", "a", "a/", "./a", "/a//b", "../a"])
@pytest.mark.parametrize(
    "name",
    ["", ".", "b.mp4", "b/c.mp4", "b//c", "./b", "b/./c", "b/.", "b/", ".b", "b./c", "../b", "b c", "~b"],
)
def test_a_name_is_joined_as_pathlib_joins_it(folder, name):
    assert join(folder, name) == str(Path(folder, name))


@pytest.mark.parametrize("name", ["/a/b", "~/b", "s3://bucket/b"])
def test_what_is_whole_already_stays_as_it_is(name):
    assert join("folder", name) == join("s3://other", name) == name


def test_a_name_below_a_url_stays_below_it():
    assert (
        join("s3://bucket/videos", "a/b.mp4")
        == join("s3://bucket/videos/", "a/b.mp4")
        == "s3://bucket/videos/a/b.mp4"
    )
