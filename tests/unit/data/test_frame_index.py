"""Planning which packets to decode: small groups of pictures written out by hand."""

import pytest

from tsn_tsm_plugin.data.bitstream.frame_index import build_frame_index
from tsn_tsm_plugin.data.bitstream.picture import CodedPicture, UnverifiedStreamError

KEY, REFERENCE, DROPPABLE = (
    CodedPicture(is_start=True),
    CodedPicture(is_start=False),
    CodedPicture(False, is_droppable=True),
)
B = CodedPicture(False, is_droppable=True, is_bidirectional=True)
HIDDEN = CodedPicture(False, is_shown=False)


def packets_for(index, *frames):
    return [run.packets for run in index.runs(frames)]


def open_groups():
    """Packets I0 P1 B2 B3 I4 B5, displayed as I0 B2 B3 P1 B5 I4."""
    return build_frame_index([KEY, REFERENCE, B, B, KEY, B], [None] * 6, order="types", reorder_depth=1)


def closed_groups():
    """Packets I0 P1 b2 I3 P4 b5, displayed as I0 b2 P1 I3 b5 P4."""
    pictures = [KEY, REFERENCE, DROPPABLE] * 2
    return build_frame_index(pictures, [0, 2, 1, 3, 5, 4], order="pts", reorder_depth=1)


def test_frames_are_numbered_in_the_order_of_display():
    assert open_groups().frames == [0, 2, 3, 1, 5, 4]
    assert closed_groups().frames == [0, 2, 1, 3, 5, 4]


def test_only_the_group_of_a_wanted_frame_is_decoded_and_only_up_to_it():
    assert packets_for(closed_groups(), 3) == [[3]]
    assert packets_for(closed_groups(), 5) == [[3, 4]]


def test_pictures_that_nothing_depends_on_are_skipped_unless_wanted():
    assert packets_for(closed_groups(), 2) == [[0, 1]]
    assert packets_for(closed_groups(), 1) == [[0, 1, 2]]


def test_a_frame_that_leads_its_keyframe_is_decoded_from_the_keyframe_before():
    assert packets_for(open_groups(), 4) == [[0, 1, 4, 5]]


def test_a_leading_frame_pulls_its_own_keyframe_into_the_earlier_run():
    assert packets_for(open_groups(), 4, 5) == [[0, 1, 4, 5]]


def test_decoding_from_an_open_keyframe_skips_its_leading_pictures():
    index = build_frame_index(
        [KEY, REFERENCE, KEY, REFERENCE, REFERENCE], [0, 1, 3, 2, 4], order="pts", reorder_depth=1
    )
    assert packets_for(index, 4) == [[2, 4]]
    assert packets_for(index, 2) == [[0, 1, 2, 3]]


def test_far_frames_need_separate_runs_and_neighbouring_groups_are_one():
    index = build_frame_index([KEY] * 9, [None] * 9, order="decoding", reorder_depth=0)
    assert packets_for(index, 0, 4, 5, 8) == [[0], [4, 5], [8]]


def test_hidden_and_discarded_pictures_are_decoded_but_are_no_frames():
    pictures = [KEY, HIDDEN, REFERENCE, REFERENCE]
    index = build_frame_index(
        pictures, [0, 1, 2, 3], order="decoding", reorder_depth=0, discarded=frozenset({0})
    )
    assert index.frames == [2, 3]
    assert [(run.packets, run.shown) for run in index.runs([0])] == [([0, 1, 2], [2])]


@pytest.mark.parametrize(
    ("pts", "reorder_depth", "reason"),
    [
        ([0, None, 2], 0, "missing or repeated"),
        ([0, 1, 1], 0, "missing or repeated"),
        ([0, 2, 1], 0, "reordered over 1, the decoder expects 0"),
        ([0, 1, 2], 2, "its time stamps do not"),
    ],
)
def test_time_stamps_that_cannot_be_trusted_are_refused(pts, reorder_depth, reason):
    with pytest.raises(UnverifiedStreamError, match=reason):
        build_frame_index([KEY, REFERENCE, DROPPABLE], pts, order="pts", reorder_depth=reorder_depth)


def test_a_frame_displayed_across_a_keyframe_is_refused():
    with pytest.raises(UnverifiedStreamError, match="across a keyframe"):
        build_frame_index([KEY, REFERENCE, KEY], [0, 2, 1], order="pts", reorder_depth=1)


def test_time_stamps_that_contradict_the_bitstream_are_refused():
    pictures = [KEY, REFERENCE, DROPPABLE]
    counted = [
        picture._replace(order_count=(1, count)) for picture, count in zip(pictures, [0, 4, 2], strict=True)
    ]
    assert build_frame_index(counted, [0, 2, 1], order="pts", reorder_depth=1).frames == [0, 2, 1]
    with pytest.raises(UnverifiedStreamError, match="orders frames otherwise than the time stamps"):
        build_frame_index(counted, [0, 1, 2], order="pts", reorder_depth=1)
