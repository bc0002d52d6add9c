"""Flags of every tool: a hint for a mistyped one, and defaults in the help."""

import importlib
import re
from configparser import ConfigParser
from pathlib import Path

import pytest

SETUP = ConfigParser()
SETUP.read(Path(__file__).resolve().parents[3] / "setup.cfg")
ENTRIES = SETUP["options.entry_points"]["console_scripts"].strip().splitlines()
MODULES = [entry.split(" = ")[1].removesuffix(":main") for entry in ENTRIES if ".tools." in entry]


@pytest.mark.parametrize("module", MODULES)
def test_a_mistyped_flag_gets_a_hint(module, capsys):
    tool = importlib.import_module(module)
    required = {
        "compare": ["a"],
        "convert_checkpoint": ["a", "--out", "b"],
        "convert_config": ["a", "--out", "b"],
        "ensemble": ["a", "b"],
        "evaluate": ["--cfg", "a"],
        "export": ["--weights", "a", "--format", "onnx"],
        "predict": ["--weights", "a", "b"],
        "prepare_dataset": ["motion", "--out", "a"],
        "publish": ["--weights", "a", "--out", "b"],
        "show_batch": ["--cfg", "a", "--out", "b"],
        "stream": ["--weights", "a", "--source", "0"],
        "summarize": ["a"],
    }
    with pytest.raises(SystemExit) as ended:
        tool.main([*required.get(module.rpartition(".")[2], []), "--versio"])
    assert ended.value.code == 2
    assert "did you mean --version?" in capsys.readouterr().err


def test_a_mistyped_flag_of_a_subcommand_gets_a_hint(capsys):
    from tsn_tsm_plugin.tools import prepare_dataset

    with pytest.raises(SystemExit):
        prepare_dataset.main(["motion", "--out", "a", "--num-trian", "3"])
    assert "did you mean --num-train?" in capsys.readouterr().err


@pytest.mark.parametrize("module", MODULES)
def test_every_tool_that_takes_a_run_folder_takes_its_last_or_best_weights(module, capsys):
    with pytest.raises(SystemExit):
        importlib.import_module(module).main(["--help"])
    shown = capsys.readouterr().out
    assert ("--weights" in shown) == ("--which {last,best}" in shown)


@pytest.mark.parametrize("module", MODULES)
def test_every_tool_shows_defaults_in_one_form(module, capsys):
    with pytest.raises(SystemExit):
        importlib.import_module(module).main(["--help"])
    shown = capsys.readouterr().out.partition("\noptions:")[2]
    assert re.findall(r"; default| \[\w+\]$", shown, re.MULTILINE) == []


def test_the_help_shows_defaults_that_are_not_empty(capsys):
    from tsn_tsm_plugin.tools import stream

    with pytest.raises(SystemExit):
        stream.main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "classes to show (default: 3)" in shown
    assert "--json print one JSON object per line --annotate" in shown
