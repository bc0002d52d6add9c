"""Names of notes: hardware and clock as the README describes them."""

import re
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"
NOTES = sorted((FOLDER / "results").glob("*.md"))
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "num_threads", "clock", "tag"),
    [(CPU, 1, "CPU time", "cpu1"), (CPU, 2, "wall time", "cpu2"), (GPU, 1, "wall time", "cuda")],
)
def test_one_thread_on_a_cpu_has_its_own_time_and_everything_else_wall_time(
    load, device, num_threads, clock, tag
):
    measuring = load("measuring")

    assert measuring.clock_of(device, num_threads=num_threads)[1] == clock
    assert measuring.hardware_tag(device, num_threads=num_threads) == tag


@pytest.mark.parametrize("note", NOTES, ids=lambda path: path.stem)
def test_the_name_of_a_kept_note_has_the_clock_of_its_figures(note):
    hardware = re.fullmatch(r"\w+_(cuda|counted|cpu\d+)_\d{6}", note.stem)[1]
    shown = {"CPU time"} if hardware == "cpu1" else {"wall time", "wall ms"}

    assert hardware == "counted" or any(words in note.read_text() for words in shown)


@pytest.mark.parametrize("name", re.findall(r"`(\w+)_\*\.md`", (FOLDER / "README.md").read_text()))
def test_notes_that_the_readme_names_are_there(name):
    assert [note for note in NOTES if note.stem.startswith(f"{name}_")]


def test_the_training_of_a_gpu_is_kept_under_the_name_of_the_readme(load, monkeypatch, tmp_path):
    bench = load("bench_training")
    monkeypatch.setattr(sys.modules["measuring"], "__file__", str(tmp_path / "measuring.py"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(bench, "table", lambda args: "figures")
    monkeypatch.setattr(sys, "argv", ["bench_training.py", "--write"])

    bench.main()

    assert [re.sub(r"\d{6}", "*", note.name) for note in (tmp_path / "results").iterdir()] == [
        "training_resnet50_cuda_*.md"
    ]
