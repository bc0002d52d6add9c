"""Weights that are given away, and used by somebody who has nothing else."""

import json

import pytest
import torch
from support.trained import CLASS_NAMES, write_checkpoint
from support.videos import write_video

from tsn_tsm_plugin.engine.trained import load_trained
from tsn_tsm_plugin.tools import predict, share


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("share")
    run = folder / "secret_place" / "run"
    (run / "checkpoints").mkdir(parents=True)
    write_checkpoint(
        run / "checkpoints" / "best.pt",
        "DATA.PATH_TO_DATA_DIR", str(folder / "secret_place" / "gestures"), "OUTPUT_DIR", str(run),
    )  # fmt: skip
    (run / "results.json").write_text(json.dumps({"top1": 87.5, "top5": 100.0, "num_videos": 40}))
    assert share.main(["--weights", str(run), "--out", str(folder / "out")]) == 0
    return folder / "out", run / "checkpoints" / "best.pt"


def test_the_shared_file_is_the_same_network_with_its_recipe_and_names(shared):
    folder, checkpoint = shared
    ours, theirs = load_trained(checkpoint), load_trained(folder / "model.safetensors")
    assert theirs.class_names == CLASS_NAMES and theirs.cfg.DATA.NUM_FRAMES == 4
    for name, value in ours.model.state_dict().items():
        assert torch.equal(theirs.model.state_dict()[name], value)


def test_the_shared_file_predicts_without_a_config(shared, tmp_path, capsys):
    video = write_video(tmp_path / "v.mp4", 10)
    weights = str(shared[0] / "model.safetensors")
    assert predict.main(["--weights", weights, str(video), "--format", "json"]) == 0
    assert {each["class"] for each in json.loads(capsys.readouterr().out)[0]["top"]} == set(CLASS_NAMES)


def test_the_card_says_what_it_is_how_good_it_is_and_how_to_load_it(shared):
    card = (shared[0] / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: tsn_tsm_plugin\n")
    assert "# TSM resnet18 on gestures" in card and "| top-1 | 87.50 |" in card and "On 40 videos" in card
    assert 'load_trained("model.safetensors")' in card and "SHIFT_DIV: 8" in card
    assert "| parameters | 11,178,051 |" in card


def test_nothing_of_the_machine_goes_along(shared):
    for file in shared[0].iterdir():
        assert b"secret_place" not in file.read_bytes()
