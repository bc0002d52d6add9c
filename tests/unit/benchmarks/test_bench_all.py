"""bench_all on stand-ins for the benchmarks; and the peers' weights."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import nn

FOLDER = Path(__file__).parents[2] / "benchmarks"


def write_benchmarks(folder: Path, **contents: str) -> Path:
    for name, content in contents.items():
        (folder / f"bench_{name}.py").write_text(content)
    return folder


def test_each_benchmark_runs_and_a_line_reports_its_end(load, tmp_path, capfd):
    folder = write_benchmarks(tmp_path, first="print('figures')", second="print('more')")

    code = load("bench_all").main([], folder=folder)

    out = capfd.readouterr().out
    assert code == 0
    assert "figures" in out and "more" in out
    assert "bench_first.py         ran in" in out


def test_a_failure_does_not_stop_the_others_but_shows_in_the_exit_code(load, tmp_path, capfd):
    folder = write_benchmarks(tmp_path, first="raise SystemExit(3)", second="print('went on')")

    code = load("bench_all").main([], folder=folder)

    out = capfd.readouterr().out
    assert code == 1
    assert "failed with exit code 3" in out and "went on" in out


def test_quick_runs_keep_no_notes_and_know_only_benchmarks_that_exist(load, capsys):
    bench = load("bench_all")

    with pytest.raises(SystemExit):
        bench.main(["--quick", "--write"])
    assert "not allowed with argument --quick" in capsys.readouterr().err
    assert all((FOLDER / name).is_file() for name in bench.QUICK)


@pytest.mark.parametrize("script", sorted(FOLDER.glob("bench_*.py")), ids=lambda path: path.stem)
def test_what_each_benchmark_is_given_it_understands(load, script):
    bench = load("bench_all")
    args = Namespace(
        threads=1, write=False, quick=True, weights="", mit="", has_gpu=False, video=Path(__file__)
    )
    given = bench.arguments_of(script.name, args)
    flags = [word for word in given if word.startswith("--")] if isinstance(given, list) else []
    assert all(f'"{flag}"' in script.read_text() for flag in flags)


def test_what_the_machine_cannot_run_is_reported_and_not_run(load, tmp_path, capfd):
    folder = write_benchmarks(tmp_path, export="print('ran')", reading="print('ran')")

    code = load("bench_all").main(["--video", str(tmp_path / "none.mp4")], folder=folder)

    out = capfd.readouterr().out
    assert code == 0
    assert "not run: needs a trained network: give --weights" in out
    assert "not run: needs the video none.mp4" in out


def test_every_benchmark_of_this_folder_explains_itself():
    scripts = sorted(FOLDER.glob("bench_*.py"))

    assert len(scripts) >= 5
    for script in scripts:
        assert f"python tests/benchmarks/{script.name}" in script.read_text()


def test_a_peer_that_is_absent_is_named_and_not_guessed(load, tmp_path, monkeypatch):
    bench = load("bench_network")
    monkeypatch.setattr(bench.peers, "mmaction2", lambda **options: absent("No module named 'mmaction'"))

    networks, missing = bench.create_networks(tmp_path / "clone", torch.device("cpu"))

    assert list(networks) == [bench.PLAIN, bench.TSN, bench.TSM]
    assert [line.split(":")[0] for line in missing] == ["MMAction2", "mit-han-lab"]
    assert "give a clone with --mit" in missing[1]


def absent(reason: str) -> nn.Module:
    raise ImportError(reason)


def test_networks_that_differ_are_not_timed(load):
    bench = load("bench_network")

    with pytest.raises(SystemExit, match="other differs from the TSM by 2.0e-04"):
        bench.refuse_differences({"ours, bf16": 0.01, "other": 2e-4})


def test_ratios_are_taken_within_a_round_and_against_peers_as_they_come(load):
    own = {"plain ResNet-50": [1.0, 2.0], "ours": [2.0, 4.0], "MMAction2": [4.0, 8.0]}
    kept = {name: [value / 2 for value in seconds] for name, seconds in own.items()}

    lines = load("bench_network").tables({"as it comes": own, "kept": kept}, {"MMAction2": 1e-6})

    assert "| ours | 3000 | 2.000 | 2.00 x |  |" in lines
    assert "| MMAction2 | 6000 | 4.000 | 1.00 x | 1e-06 |" in lines
    assert "| ours | 1500 | 2.000 | 2.00 x | 4.00 x |  |" in lines
