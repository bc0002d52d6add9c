"""The picture of the rooms in CONTRIBUTING.md is made by a command, and is current."""

from support.draw_rooms import PAGE, drawing


def test_the_picture_of_the_rooms_is_current():
    assert drawing() in PAGE.read_text(encoding="utf-8"), "python tests/support/draw_rooms.py --write"
