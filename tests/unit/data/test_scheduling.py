"""Encoding a video of the tests leaves the process as it was."""

import os

import pytest
from support.videos import write_video


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="the system does not report the policy")
def test_the_scheduling_policy_stays_after_an_av1_encoder(tmp_path):
    before = os.sched_getscheduler(0)
    write_video(tmp_path / "a.mp4", 4, codec="libsvtav1", b_frames=0, options={"preset": "12"})

    assert os.sched_getscheduler(0) == before
