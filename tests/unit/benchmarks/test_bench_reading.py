"""Readers are timed only if their frames equal a plain decode."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from support.videos import write_video


@pytest.fixture
def bench(load):
    return load("bench_reading")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp("bench") / "video.mp4", 20))


def give(bench, monkeypatch, name, change):
    read = bench.make_ours()
    monkeypatch.setitem(bench.MAKERS, name, lambda: lambda path, wanted: change(read(path, wanted)))


def test_a_peer_that_gives_other_frames_is_named_and_not_timed(bench, video, monkeypatch):
    give(bench, monkeypatch, "wrong", lambda frames: frames.flip(0))
    give(bench, monkeypatch, "right", lambda frames: frames)

    kept, left_out = bench.agreeing([bench.OURS, "wrong", "right"], video, [2, 17])

    assert kept == [bench.OURS, "right"]
    assert left_out == "wrong: gives other frames"


def test_other_frames_of_ours_end_the_benchmark(bench, video, monkeypatch):
    give(bench, monkeypatch, bench.OURS, lambda frames: frames ^ 1)

    with pytest.raises(SystemExit, match="ours gives other frames than a plain decode"):
        bench.agreeing([bench.OURS], video, [2, 17])


def test_a_reader_that_does_not_load_is_absent_with_the_reason(bench, monkeypatch):
    def broken():
        raise RuntimeError("no FFmpeg\nat all")

    monkeypatch.setattr(bench, "MAKERS", {bench.OURS: bench.make_ours, "broken": broken})

    assert bench.present() == ([bench.OURS], ["broken (no FFmpeg)"])


def test_a_reader_that_one_of_two_workers_cannot_load_ends_the_measurement_with_its_error(
    bench, video, monkeypatch, tmp_path
):
    monkeypatch.setitem(bench.MAKERS, "once", lambda: (tmp_path / "loaded").mkdir() or bench.make_ours())
    context = get_context("fork")
    barrier = context.Barrier(bench.NUM_WORKERS)
    pool = ProcessPoolExecutor(bench.NUM_WORKERS, context, bench.begin_worker, (barrier,))

    with pool, pytest.raises(FileExistsError, match="loaded"):
        bench.measure(pool, ["once"], video, [2, 17], 1)
