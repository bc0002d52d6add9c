"""The training loop to copy runs, learns, stays short and knows no recipe."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch
from support.runs import tiny_backbone, write_dataset  # noqa: F401  # It registers the backbone "tiny".

from tsn_tsm_plugin.models import create_tsm, load_weights

SCRIPT = Path(__file__).resolve().parents[2] / "projects" / "plain_loop" / "train.py"


@pytest.fixture(scope="module")
def plain_loop():
    spec = importlib.util.spec_from_file_location("plain_loop", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_trains_from_a_list_of_videos_and_its_weights_load(tmp_path, plain_loop, capsys):
    data = write_dataset(tmp_path / "data", num_train=12, num_val=6)
    out = tmp_path / "tsm.pt"
    options = "--backbone tiny --frames 4 --size 28 --batch 6 --epochs 40 --lr 0.1 --workers 0"
    plain_loop.main(["--data", str(data), "--out", str(out), *options.split()])

    said = capsys.readouterr().out
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+), validation top-1", said)]
    assert len(losses) == 40
    assert sum(losses[-5:]) / 5 < losses[0]
    model = create_tsm(backbone="tiny", num_classes=3, num_segments=4)
    load_weights(model, str(out))
    assert torch.isfinite(model.head.fc.weight).all()


def test_it_has_at_most_150_lines_and_no_recipe():
    text = SCRIPT.read_text()

    assert len(text.splitlines()) <= 150
    assert "cfg" not in text
