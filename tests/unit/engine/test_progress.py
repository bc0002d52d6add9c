"""Output for a person: a bar in a terminal, lines in a file, and a warning with its number."""

import fcntl
import io
import os
import pty
import select
import struct
import sys
import termios

import pytest

from tsn_tsm_plugin.log import setup_logging
from tsn_tsm_plugin.ranks import Ranks
from tsn_tsm_plugin.runs.progress import Progress, Totals, with_bar


def follow_an_epoch(*, seconds: float, data_seconds: float) -> None:
    progress = Progress(Ranks(), None, num_epochs=1, steps_per_epoch=4, log_period=2)
    progress.start_epoch(0, batch=0, totals=Totals())
    for step in range(1, 5):
        step_totals = Totals(steps=1, clips=8, loss=16.0, seconds=seconds / 4, data_seconds=data_seconds / 4)
        progress.step(step, step_totals, lr=0.01)
    progress.end_epoch(0)


@pytest.mark.parametrize(
    ("seconds", "data_seconds", "is_said"),
    [(20.0, 12.0, True), (20.0, 5.0, False), (6.0, 4.0, False)],
    ids=["most of the time", "a quarter", "most of a short time"],
)
def test_waiting_for_data_is_warned_of_with_the_number_that_proves_it(
    monkeypatch, seconds, data_seconds, is_said
):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    setup_logging()
    follow_an_epoch(seconds=seconds, data_seconds=data_seconds)
    said = sys.stderr.getvalue()

    warning = "Data loading is the bottleneck: 12 of 20 s of this epoch (60 %) were spent waiting for clips."
    assert (warning in said) == is_said
    assert ("bottleneck" in said) == is_said


def test_waiting_for_data_is_warned_of_once(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    setup_logging()
    progress = Progress(Ranks(), None, num_epochs=3, steps_per_epoch=1, log_period=1)
    for epoch in range(3):
        progress.start_epoch(epoch, batch=0, totals=Totals())
        progress.step(epoch + 1, Totals(steps=1, clips=2, seconds=20.0, data_seconds=12.0), lr=0.1)
        progress.end_epoch(epoch)

    assert sys.stderr.getvalue().count("Data loading is the bottleneck") == 1


def test_a_file_gets_plain_lines(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    setup_logging(tmp_path / "log.txt")
    follow_an_epoch(seconds=2.0, data_seconds=0.5)

    for text in (sys.stderr.getvalue(), (tmp_path / "log.txt").read_text()):
        steps = "epoch 1 step 2/4: loss 2.0000, top-1 0.0 %, lr 0.01, 16.0 clips/s, data 25 %"
        assert steps in text and "eta 0:00:01" in text
        assert len(text.splitlines()) == 3  # two of steps, one of the epoch
        assert "\r" not in text and "\x1b" not in text


def test_a_terminal_gets_a_bar_in_place_of_the_lines_of_steps(monkeypatch, tmp_path):
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with os.fdopen(writer, "w", buffering=1) as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        setup_logging(tmp_path / "log.txt")
        follow_an_epoch(seconds=2.0, data_seconds=0.5)
        list(with_bar([1, 2], "val", total=2, shown=True))
        terminal.flush()
        # A terminal hands out at most a few KiB at a time.
        seen = ""
        while "val:" not in seen or select.select([reader], [], [], 0.2)[0]:
            seen += os.read(reader, 1 << 16).decode()
    os.close(reader)

    assert "epoch 1:" in seen and "0/4" in seen and "val:" in seen
    assert "step 2/4" not in seen and "epoch 1 done: loss 2.0000" in seen
    assert "step 2/4" in (tmp_path / "log.txt").read_text()
    assert "\r" not in (tmp_path / "log.txt").read_text()
