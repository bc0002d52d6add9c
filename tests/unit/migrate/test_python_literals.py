import os

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


HOSTILE = (
    "open({trap}, 'w')",
    "__import__('os').system('touch ' + {trap})",
    "[i for i in (1,)]",
    "(lambda: 1)()",
    "dict.__class__",
    "''.__class__.__mro__",
    "'{{0.__class__}}'.format('a')",
    "'{{:999999999}}'.format(1)",
    "f'{{1:999999999}}'",
    "'%999999999d' % 1",
    "[0] * 2000000000",
    "'x' * 2000000000",
    "10 ** 10 ** 10",
    "range(10 ** 9)",
    "'a' * 9999 * 9999",
    "1" + " + 1" * 500,
    "eval('1')",
    "os.system('true')",
    "nobody",
)


@pytest.mark.parametrize("expression", HOSTILE)
def test_an_expression_that_is_not_harmless_costs_its_leaf_and_is_never_run(tmp_path, expression):
    trap = tmp_path / "ran"
    text = expression.format(trap=repr(str(trap)))
    path = write(tmp_path, "a.py", f"import os\nmodel = dict(\n    ok=1,\n    lost={text},\n    also=2)\n")
    read = read_literals(path)
    assert read.settings == {"model": {"ok": 1, "also": 2}}
    assert not trap.exists()
    assert len(read.skipped) == 1 and read.skipped[0].startswith(f"{path}:4: model.lost: ")
    assert "would have to be run" in read.skipped[0]


@pytest.mark.parametrize(
    "text",
    [
        "x = [1]\n" + "x = [x, x]\n" * 40 + "ok = 1\n",
        "x = {}\nx['x'] = x\nok = 1\n",
        "x = []\n" + "x = [x]\n" * 2000 + "ok = 1\n",
        "x = 'x'\n" + "x = x + x\n" * 60 + "ok = 1\n",
        "x = [1]\n" + "x += x\n" * 60 + "ok = 1\n",
    ],
)
def test_a_value_that_grows_without_bound_is_lost_alone(tmp_path, text):
    read = read_literals(write(tmp_path, "a.py", text))
    assert read.settings["ok"] == 1 and len(read.skipped) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "(" * 5000 + ")" * 5000,
        "x = " + "[" * 150 + "]" * 150,
        "x = " + "-" * 50000 + "1",
        "x = '\0'",
    ],
)
def test_source_that_no_parser_takes_is_one_error_or_one_lost_leaf(tmp_path, text):
    path = write(tmp_path, "a.py", text)
    try:
        assert read_literals(path).settings == {}
    except ConfigError as error:
        assert str(path) in str(error)


def test_bases_that_fan_out_are_bounded(tmp_path):
    write(tmp_path, "c0.py", "x = 1\n")
    for level in range(1, 12):
        write(
            tmp_path,
            f"c{level}.py",
            f"_base_ = ['c{level - 1}.py', './c{level - 1}.py', '././c{level - 1}.py']\n",
        )
    with pytest.raises(ConfigError, match="more than 64 base files"):
        read_literals(tmp_path / "c11.py")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("f'list_{split}_{lr:.2f}.txt'", "list_1_0.50.txt"),
        ("osp.join(root, 'train', 'a.txt')", "data/train/a.txt"),
        ("os.path.join(root, 'x')", "data/x"),
        ("len(classes)", 3),
        ("1 if lr > 0.3 else 2", 1),
        ("lr * 2 ** 3 - 1 // 2", 4.0),
        ("classes[-1]", "c"),
        ("classes[:2]", ["a", "b"]),
        ("model['depth'] if 'depth' in model else None", 50),
        ("model.depth", 50),
        ("not lr", False),
        ("lr and split", 1),
        ("[*classes, 'd']", ["a", "b", "c", "d"]),
        ("{**model, 'x': 1}", {"depth": 50, "x": 1}),
        ("dict(model, x=1)", {"depth": 50, "x": 1}),
        ("'{}/{name}'.format(root, name='x')", "data/x"),
        ("'%s_%d' % (root, split)", "data_1"),
        ("'-'.join(classes)", "a-b-c"),
        ("root.upper()", "DATA"),
        ("model.get('width', 7)", 7),
        ("max(1, split)", 1),
        ("'{{ fileBasenameNoExtension }}/x'", "a/x"),
        ("'{{$NOBODY_SETS_THIS:left/alone}}'", "left/alone"),
        ("{{'$NOBODY_SETS_THIS:80'}}", 80),
    ],
)
def test_a_harmless_expression_is_computed(tmp_path, expression, value):
    path = write(
        tmp_path,
        "a.py",
        "import os\nimport os.path as osp\nsplit, lr = 1, 0.5\nroot = 'data'\nclasses = ('a', 'b', 'c')\n"
        f"model = dict(depth=50)\nx = {expression}\n",
    )
    read = read_literals(path)
    assert read.settings["x"] == value


def test_a_variable_of_the_environment_is_taken_and_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_DATA", "/mnt/kinetics")
    read = read_literals(write(tmp_path, "a.py", "root = '{{$MY_DATA:data}}/train'\n"))
    assert read.settings == {"root": "/mnt/kinetics/train"}
    assert read.skipped == [f"{tmp_path / 'a.py'}: $MY_DATA is '/mnt/kinetics', from the environment"]


def test_statements_that_change_values_are_followed(tmp_path):
    read = read_literals(
        write(
            tmp_path,
            "a.py",
            "model = dict(a=dict(b=1), c=[1])\nmodel.update(dict(d=2))\nmodel['a']['b'] = 3\n"
            "model['c'].append(2)\nsteps = [1] + [2]\nsteps += [3]\nlr = 1\nlr *= 2\n"
            "if lr > 1:\n    batch = 4\nelse:\n    batch = 8\nfor i in range(3):\n    steps.append(i)\n"
            "del model['d']\n",
        )
    )
    assert read.settings["model"] == {"a": {"b": 3}, "c": [1, 2]}
    assert (read.settings["steps"], read.settings["lr"], read.settings["batch"]) == ([1, 2, 3, 0, 1, 2], 2, 4)
    assert read.skipped == []


def test_what_hangs_on_unread_values_is_lost_and_named_by_its_line(tmp_path):
    path = write(
        tmp_path,
        "a.py",
        "classes = open('x').read()\nmodel = dict(head=dict(\n    n=len(classes),\n    kind='A'),\n"
        "    mean=[1, len(classes)], steps=[dict(a=1), load(), dict(b=load(), c=2)])\n"
        "def f():\n    return 1\nx = f()\n",
    )
    read = read_literals(path)
    assert read.settings == {"model": {"head": {"kind": "A"}, "steps": [{"a": 1}, {"c": 2}]}}
    lost = [line.removeprefix(f"{path}:").rpartition(": ")[0] for line in read.skipped]
    assert lost == [
        "1: classes",
        "3: model.head.n",
        "5: model.mean",
        "5: model.steps[1]",
        "5: model.steps[2].b",
        "6: f",
        "8: x",
    ]


def test_a_lost_leaf_does_not_show_the_bases_value(tmp_path):
    write(tmp_path, "base.py", "model = dict(head=dict(num_classes=400, kind='A'))\n")
    path = write(tmp_path, "a.py", "_base_ = 'base.py'\nmodel = dict(head=dict(num_classes=count()))\n")
    assert read_literals(path).settings == {"model": {"head": {"kind": "A"}}}


def test_variables_of_the_bases_are_read(tmp_path):
    write(tmp_path, "base.py", "pipeline = [dict(type='A')]\nroot = 'data'\nopt = dict(lr=1, wd=2)\n")
    path = write(
        tmp_path,
        "a.py",
        "_base_ = ['base.py']\nx = dict(p=_base_.pipeline, r='{{_base_.root}}/x', o={{_base_.opt.lr}})\n"
        "y = {{_base_.pipeline}}\n",
    )
    read = read_literals(path)
    assert read.settings["x"] == {"p": [{"type": "A"}], "r": "data/x", "o": 1}
    assert read.settings["y"] == [{"type": "A"}] and read.skipped == []


def test_configs_in_the_new_style_are_followed_into_their_bases(tmp_path):
    write(
        tmp_path,
        "_base_/model.py",
        "from x import *\nmodel = dict(type=Recognizer2D, backbone=dict(depth=50))\n",
    )
    write(tmp_path, "_base_/opt.py", "from torch.optim import SGD\noptimizer = dict(type=SGD, lr=1)\n")
    path = write(
        tmp_path,
        "sub/a.py",
        "from mmengine.config import read_base\nfrom mmaction.datasets import SampleFrames\n"
        "with read_base():\n    from .._base_.model import *\n    from .._base_.opt import optimizer\n"
        "model.update(dict(backbone=dict(pretrained=None)))\nmodel.backbone.depth = 101\n"
        "optimizer.update(lr=2)\npipeline = [dict(type=SampleFrames, num_clips=8)]\n",
    )
    read = read_literals(path)
    assert read.settings == {
        "model": {"type": "Recognizer2D", "backbone": {"depth": 101, "pretrained": None}},
        "optimizer": {"type": "SGD", "lr": 2},
        "pipeline": [{"type": "SampleFrames", "num_clips": 8}],
    }
    assert read.skipped == []


def test_a_base_of_mmaction2s_is_asked_for_unless_it_is_at_hand(tmp_path):
    text = "_base_ = 'mmaction::_base_/models/tsm_r50.py'\nmodel = dict(head=1)\n"
    path = write(tmp_path, "a.py", text)
    with pytest.raises(
        ConfigError, match=r"mmaction::_base_/models/tsm_r50.py belongs to MMAction2.*git clone"
    ):
        read_literals(path)
    write(tmp_path, "configs/_base_/models/tsm_r50.py", "model = dict(backbone=2)\n")
    assert read_literals(path, library=tmp_path / "configs").settings == {"model": {"backbone": 2, "head": 1}}


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


def test_a_config_that_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.py")
    with pytest.raises(ConfigError, match="a.py: cannot be read .a named pipe is not a regular file"):
        read_literals(tmp_path / "a.py")
