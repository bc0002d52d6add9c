"""Files of strangers mutated at random: lists, recipes, configs, checkpoints, dumps and metrics.

Each is read, or refused by an error of this package, within bounds of time and memory. Videos, frames and
shards have tests of this kind of their own.
"""

import json
import pickle
import random
import resource
import signal
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import save_file
from support.runs import write_recipe

from tsn_tsm_plugin import load_cfg
from tsn_tsm_plugin.checkpoints.read_checkpoint import read_checkpoint
from tsn_tsm_plugin.data.annotations import read_label_map, read_video_list
from tsn_tsm_plugin.errors import TsnTsmError
from tsn_tsm_plugin.evaluation.dump import read_dump
from tsn_tsm_plugin.migrate.mmaction2.convert import convert_file
from tsn_tsm_plugin.runs.metrics_log import read_metrics

pytestmark = pytest.mark.slow

# Scraps of what each format treats specially.
SCRAPS = [
    *(
        b"\x00",
        b"\xff\xfe",
        b"\n",
        b"\r",
        b"\t",
        b"&a [*a]",
        b"*a",
        b"!!python/object/apply:os.system",
        b"- ",
    ),
    *(b"- ", b": ", b"{", b"[" * 2000, b"]", b'"', b"'", b"#", b"|", b"%", b"_BASE_: .\n", b"1e999", b"-1"),
    *(
        b"NaN",
        b"1:59",
        b"9" * 5000,
        b"0x10",
        b"null",
        b"true",
        b"~",
        b"../..",
        b"://",
        b"\xe2\x80\xae",
        b"\x1b[2J",
        b"*2000000000",
    ),
]


def mutated(content, draw):
    """Cut, flip, drop, repeat or insert a few bytes, once to four times."""
    for _ in range(draw.randint(1, 4)):
        at, length = draw.randrange(len(content) + 1), draw.randrange(1, 64)
        kind = draw.choice(["flip", "cut", "drop", "repeat", "scrap", "scrap"])
        if kind == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at] or content
        elif kind == "drop":
            content = content[:at] + content[at + length :]
        elif kind == "repeat":
            content = content[: at + length] + content[at:]
        else:
            content = content[:at] + draw.choice(SCRAPS) + content[at:]
    return content


@contextmanager
def bounded(*, seconds, mebibytes):
    """Fail if the block takes longer, or if this process grows by more."""

    def stop(*_):
        pytest.fail(f"no end after {seconds} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < mebibytes * 1024


def recipe(folder):
    return write_recipe(folder, data=folder).read_bytes()


def checkpoint(folder):
    content = {"state_dict": {"w": torch.ones(3, 2), "b": torch.zeros(2)}, "config": "A: 1", "format": 1}
    torch.save(content, folder / "whole.pt")
    return (folder / "whole.pt").read_bytes()


def legacy(folder):
    torch.save({"w": torch.ones(3, 2)}, folder / "old.pt", _use_new_zipfile_serialization=False)
    return (folder / "old.pt").read_bytes()


def safetensors(folder):
    save_file({"w": torch.ones(3, 2)}, folder / "whole.safetensors", metadata={"config": "A: 1"})
    return (folder / "whole.safetensors").read_bytes()


def dump(_):
    video = {"video_index": 0, "video_name": "a", "label": 0, "prediction": 0}
    return {
        "class_names": ["a", "b"],
        "view_average": "logits",
        "videos": [{**video, "scores": [0.1, 0.9], "view_logits": [[0.1, 0.9]]}],
    }


LIST = "".join(f"a folder/{number}.mp4 {number % 3}\n" for number in range(20)).encode()
RECORDS = json.dumps([{"filename": f"{number}.mp4", "label": number % 3} for number in range(9)]).encode()
METRICS = b"".join(b'{"step": %d, "epoch": 1, "val/top1": 50.0}\n' % step for step in range(9))
CONFIG = b"""
x = [0] * 3
y = dict(a=1, **dict(b=x + x))
model = dict(type='Recognizer2D', backbone=dict(type='ResNetTSM', depth=50, shift_div=8),
    cls_head=dict(type='TSMHead', num_classes=400, in_channels=2048))
optimizer = dict(type='SGD', lr=0.01 * 2, momentum=0.9)
total_epochs = 50
"""

KINDS = {
    "list": ("a.txt", lambda _: LIST, lambda path: read_video_list(path, num_classes=3)),
    "JSON list": ("a.json", lambda _: RECORDS, lambda path: read_video_list(path, num_classes=3)),
    "label map": ("a.txt", lambda _: b"one\ntwo\nthree\n", read_label_map),
    "recipe": ("a.yaml", recipe, load_cfg),
    "MMAction2 config": ("a.py", lambda _: CONFIG, convert_file),
    "checkpoint": ("a.pt", checkpoint, read_checkpoint),
    "legacy checkpoint": ("a.pt", legacy, read_checkpoint),
    "safetensors": ("a.safetensors", safetensors, read_checkpoint),
    "pickled dump": ("a.pkl", lambda folder: pickle.dumps(dump(folder)), read_dump),
    "JSON dump": ("a.json", lambda folder: json.dumps(dump(folder)).encode(), read_dump),
    "metrics": ("metrics.jsonl", lambda _: METRICS, read_metrics),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_read_or_refused_within_bounds(tmp_path, kind):
    name, make, read = KINDS[kind]
    whole, path, draw = make(tmp_path), tmp_path / name, random.Random(kind)
    num_refused = 0
    with bounded(seconds=60, mebibytes=512):
        for _ in range(1000):
            content = mutated(whole, draw)
            path.write_bytes(content)
            try:
                read(path)
            except TsnTsmError as error:
                num_refused += 1
                assert name.partition(".")[0] in str(error)
            except Exception as error:
                pytest.fail(f"{content!r}: {type(error).__name__}: {error}")
    assert num_refused or kind == "metrics"
