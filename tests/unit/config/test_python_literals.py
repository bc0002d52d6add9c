import re

import pytest

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.migrate.mmaction2.python_literals import read_literals


def write(folder, name: str, text: str):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_literals_dict_calls_names_and_sums_are_read(tmp_path):
    path = write(
        tmp_path,
        "a.py",
        '"""What it is."""\n'
        "scale = (-1, 256)\n"
        "steps = [dict(type='Resize', scale=scale), dict(lr=0.01 * 2, **dict(b=1))]\n"
        "mean = [128, 128] * 2\n"
        "root = 'data/' + 'x'\n"
        "cfg = {'a': {'b': None}}\n"
        "c = cfg['a']\n",
    )
    read = read_literals(path)
    assert read.settings["steps"] == [{"type": "Resize", "scale": [-1, 256]}, {"lr": 0.02, "b": 1}]
    assert read.settings["mean"] == [128, 128, 128, 128]
    assert read.settings["root"] == "data/x" and read.settings["c"] == {"b": None}
    assert read.skipped == []


def test_code_is_named_and_never_run(tmp_path):
    trap = tmp_path / "ran"
    path = write(
        tmp_path,
        "a.py",
        f"import os\nx = open({str(trap)!r}, 'w')\ny = __import__('os').system('true')\n"
        "z = [i for i in (1,)]\nok = 1\n",
    )
    read = read_literals(path)
    assert not trap.exists() and read.settings == {"ok": 1}
    assert [re.sub(r".*a\.py:", "", line).split(":")[0] for line in read.skipped] == ["1", "2", "3", "4"]
    assert "would have to be run" in read.skipped[0]


def test_bases_are_merged_and_delete_replaces(tmp_path):
    write(tmp_path, "base/one.py", "model = dict(a=dict(x=1, y=2), b=dict(u=1))\nlist = [1]\n")
    path = write(
        tmp_path,
        "sub/leaf.py",
        "_base_ = ['../base/one.py', '../base/none.py']\n"
        "model = dict(a=dict(x=3), b=dict(_delete_=True, v=2))\n",
    )
    read = read_literals(path)
    assert read.settings == {"model": {"a": {"x": 3, "y": 2}, "b": {"v": 2}}, "list": [1]}
    assert len(read.skipped) == 1 and "the base ../base/none.py is not there" in read.skipped[0]


@pytest.mark.parametrize(("text", "message"), [("x = (", "is not a Python config"), (None, "cannot be read")])
def test_a_file_that_is_no_config_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "a.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=f"a.py: {message}"):
        read_literals(path)
