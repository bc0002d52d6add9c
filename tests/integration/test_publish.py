"""Weights that are given away, and used by somebody who has nothing else."""

import dataclasses
import json
import re

import pytest
import torch
from safetensors import safe_open
from support.trained import CLASS_NAMES, write_checkpoint
from support.videos import write_video

from tsn_tsm_plugin.checkpoints.read_checkpoint import read_checkpoint
from tsn_tsm_plugin.checkpoints.safetensors_file import weights_hash
from tsn_tsm_plugin.config.defaults import flatten
from tsn_tsm_plugin.inference.export.model_card import publish as publish_trained
from tsn_tsm_plugin.inference.trained_model import load_trained
from tsn_tsm_plugin.tools import predict, publish


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("share")
    run = folder / "secret_place" / "run"
    (run / "checkpoints").mkdir(parents=True)
    write_checkpoint(
        run / "checkpoints" / "best.pt",
        "DATA.PATH_TO_DATA_DIR", str(folder / "secret_place" / "gestures"), "OUTPUT_DIR", str(run),
    )  # fmt: skip
    write_results(run, "checkpoints/best.pt")
    assert publish.main(["--weights", str(run), "--out", str(folder / "out")]) == 0
    return folder / "out", run / "checkpoints" / "best.pt"


def write_results(run, weights):
    file = run / weights
    tested = weights_hash(read_checkpoint(file).state_dict) if file.exists() else "0" * 64
    results = {"top1": 87.5, "top5": 100.0, "num_videos": 40, "weights": str(file), "weights_hash": tested}
    (run / "results.json").write_text(json.dumps(results))


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


def test_the_card_names_network_accuracy_and_how_to_load_it(shared):
    card = (shared[0] / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: tsn_tsm_plugin\n")
    assert "# TSM resnet18 on gestures" in card and "| top-1 | 87.50 |" in card and "On 40 videos" in card
    assert 'load_trained("model.safetensors")' in card and "SHIFT_DIV: 8" in card
    assert "| parameters | 11,178,051 |" in card


def test_the_licence_of_the_weights_is_on_the_card(run, tmp_path):
    for words, shown in ((["--license", "cc-by-nc-4.0"], "cc-by-nc-4.0"), ([], "other")):
        assert publish.main(["--weights", str(run), "--out", str(tmp_path / shown), *words]) == 0
        assert f"\nlicense: {shown}\n" in (tmp_path / shown / "README.md").read_text()
    assert "under cc-by-nc-4.0." in (tmp_path / "cc-by-nc-4.0" / "README.md").read_text()


def test_a_licence_that_is_no_name_is_refused_before_anything_is_written(run, tmp_path, capsys):
    assert publish.main(["--weights", str(run), "--out", str(tmp_path / "out"), "--license", "a\nb"]) == 2
    assert "--license must be one name such as apache-2.0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_of_the_machine_goes_along(shared):
    for file in shared[0].iterdir():
        assert b"secret_place" not in file.read_bytes()


PLACES = [
    "/secret_place/{}",
    "~secret_place/{}",
    "https://secret_place:token@host/secret_place/{}?secret_place",
]


def with_places_everywhere(trained, place):
    """Put the place into every text of the recipe, into every list, and into the names of the classes."""
    values = {}
    for key, value in flatten(trained.cfg).items():
        if isinstance(value, str | tuple):
            text = place.format(key.rpartition(".")[2].lower())
            values[key] = text if isinstance(value, str) else [text, [text]]
    names = [place.format(name) for name in trained.class_names]
    return dataclasses.replace(trained, cfg=trained.cfg.changed(values), class_names=names), list(values)


@pytest.mark.parametrize("place", PLACES)
def test_any_path_in_the_recipe_keeps_only_its_last_name(shared, tmp_path, place):
    trained, keys = with_places_everywhere(load_trained(shared[1]), place)
    publish_trained(trained, str(tmp_path))
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        carried = file.metadata()
    card = (tmp_path / "README.md").read_text()

    assert len(keys) > 40 and {"DATA.TRAIN_LIST", "TEST.SAVE_RESULTS_PATH"} < set(keys)
    assert "secret" not in json.dumps(carried) + card
    assert b"secret" not in (tmp_path / "model.safetensors").read_bytes()
    assert "TRAIN_LIST: train_list" in carried["config"] and "TRAIN_LIST: train_list" in card
    assert json.loads(carried["class_names"]) == CLASS_NAMES


@pytest.fixture
def run(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    write_checkpoint(run / "checkpoints" / "step_00000012.pt")
    return run


def test_the_accuracy_of_other_weights_is_not_on_the_card(run, tmp_path, capsys):
    write_results(run, "checkpoints/step_00000004.pt")
    assert publish.main(["--weights", str(run), "--out", str(tmp_path / "out")]) == 0
    assert "Accuracy" not in (tmp_path / "out" / "README.md").read_text()
    assert "step_00000004.pt, not of" in capsys.readouterr().err


def test_results_follow_a_run_that_was_moved(run, tmp_path):
    write_results(run, "checkpoints/step_00000012.pt")
    run = run.rename(tmp_path / "moved")
    assert publish.main(["--weights", str(run), "--out", str(tmp_path / "out")]) == 0
    assert "| top-1 | 87.50 |" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is no results.json that can be read: No such file"),
        ("{", "is no results.json that can be read"),
        ("[1]", "must hold an object as results.json does, got list"),
        ('{"top1": 1, "weights": "a/other.pt"}', r"is of a/other.pt, not of .*tsn-tsm-evaluate --weights"),
    ],
)
def test_named_results_that_cannot_be_used_are_refused_before_anything_is_written(
    run, tmp_path, capsys, content, message
):
    file = tmp_path / "mine.json"
    if content is not None:
        file.write_text(content)
    out = tmp_path / "out"
    assert publish.main(["--weights", str(run), "--out", str(out), "--results", str(file)]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not out.exists()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("", "--out must name a folder"),
        ("/", "--out must name a folder"),
        ("afile", "could not be written: .* Free disk space, or give another folder with --out"),
        ("project", r"project/README.md is no model card and would be lost"),
    ],
)
def test_a_folder_that_is_none_or_somebody_elses_is_refused(run, tmp_path, capsys, monkeypatch, out, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "afile").touch()
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "README.md").write_text("# Mine\n")
    assert publish.main(["--weights", str(run), "--out", out]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert (tmp_path / "project" / "README.md").read_text() == "# Mine\n"


def test_weights_are_not_replaced_without_their_card(run, tmp_path):
    (tmp_path / "out" / "README.md").mkdir(parents=True)
    assert publish.main(["--weights", str(run), "--out", str(tmp_path / "out")]) == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["README.md"]


def test_a_shared_folder_is_written_again_and_loaded_by_its_name(run, tmp_path):
    for _ in range(2):
        assert publish.main(["--weights", str(run), "--out", str(tmp_path / "out")]) == 0
    assert load_trained(tmp_path / "out").class_names == CLASS_NAMES
