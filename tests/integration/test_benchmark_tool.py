"""tsn-tsm-benchmark and tsn-tsm-environment: every number is there, and mistakes are a line."""

import json
import re
import socket

import pytest
from support.runs import write_dataset, write_recipe
from support.trained import write_checkpoint

from tsn_tsm_plugin.tools import benchmark, environment


def test_forms_of_a_network_are_measured(tmp_path, capsys):
    weights = write_checkpoint(tmp_path / "w.pt")
    words = ["--weights", str(weights), "--variants", "float32", "bf16", "exported", "--seconds", "0.01"]
    assert benchmark.main([*words, "--batch-size", "2", "--device", "cpu"]) == 0

    rows = [line.split() for line in capsys.readouterr().out.splitlines()[3:]]
    assert [row[0] for row in rows] == ["float32", "bf16", "exported"]
    assert all(float(number) > 0 for row in rows for number in row[1:4])


def test_a_form_that_does_not_work_here_names_the_reason(tmp_path, capsys, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no such thing here")

    monkeypatch.setattr("tsn_tsm_plugin.inference.benchmark.trace", fail)
    weights = write_checkpoint(tmp_path / "w.pt")
    words = ["--variants", "exported", "--seconds", "0.01", "--device", "cpu"]
    assert benchmark.main(["--weights", str(weights), *words]) == 0
    assert "no such thing here" in capsys.readouterr().out


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_names_how_many_workers_feed_the_device(tmp_path, capsys, workers):
    recipe = write_recipe(tmp_path, data=write_dataset(tmp_path / "data"))
    words = ["--loader", str(recipe), "--num-workers", str(workers), "--seconds", "0.2"]
    assert benchmark.main(words) == 0

    out = capsys.readouterr().out
    worker, steps = (
        float(re.search(rf"{title}.*: ([\d.]+) clips/s", out)[1])
        for title in ("one worker", "training steps")
    )
    needed = int(re.search(r"workers that feed it: (\d+)", out)[1])
    assert needed == pytest.approx(max(1, steps / worker), abs=1.01)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [[], ["--weights", "zoo:tsm/k400_r50_8f", "--loader", "r.yaml"]])
def test_it_takes_a_network_or_a_recipe(words, capsys):
    assert benchmark.main(words) == 2
    assert "give either --weights W or --loader RECIPE" in capsys.readouterr().err


def test_the_environment_names_versions_and_nothing_private(capsys):
    assert environment.main(["--json"]) == 0
    text = capsys.readouterr().out
    found = json.loads(text)

    assert {"python", "torch", "av", "system", "cpus", "gpus", "commit"} <= found.keys()
    assert socket.gethostname() not in text.replace(found["system"], "")
    assert environment.main([]) == 0
    assert capsys.readouterr().out.startswith("python ")
