import json

import pytest
import torch
from safetensors.torch import save_file
from support.bucket import serve_bucket
from support.trained import CLASS_NAMES, write_checkpoint

from tsn_tsm_plugin.errors import CheckpointError, ConfigError
from tsn_tsm_plugin.inference.trained_model import load_trained


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("trained") / "w.pt")


def test_a_checkpoint_alone_gives_model_recipe_and_class_names(checkpoint):
    trained = load_trained(checkpoint)
    assert trained.class_names == CLASS_NAMES
    assert trained.cfg.DATA.NUM_FRAMES == 4 and trained.model.num_segments == 4
    assert not trained.model.training
    state = torch.load(checkpoint, weights_only=True)["model_state"]
    assert torch.equal(trained.model.head.fc.weight.cpu(), state["head.fc.weight"])


def test_the_recipe_of_the_checkpoint_can_be_overridden(checkpoint):
    assert load_trained(checkpoint, opts=["TEST.NUM_SPATIAL_CROPS", "3"]).cfg.TEST.NUM_SPATIAL_CROPS == 3


def test_the_folder_of_a_run_stands_for_its_newest_weights_as_its_results_do(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    write_checkpoint(folder / "best.pt", class_names=["best", "b", "c"])
    assert load_trained(tmp_path).class_names[0] == "best"
    for step in (2, 10):
        write_checkpoint(folder / f"step_{step:08}.pt", class_names=[f"after {step}", "b", "c"])
    trained = load_trained(tmp_path)
    assert (trained.class_names[0], trained.weights) == ("after 10", str(folder / "step_00000010.pt"))


@pytest.mark.parametrize("name", ["weights.safetensors", "model.safetensors"])
def test_a_folder_of_a_run_or_to_give_away_needs_its_weights_only(checkpoint, tmp_path, name):
    content = torch.load(checkpoint, weights_only=True)
    metadata = {"config": content["config"], "class_names": json.dumps(CLASS_NAMES)}
    state = {name: value.contiguous() for name, value in content["model_state"].items()}
    save_file(state, tmp_path / name, metadata=metadata)
    assert load_trained(tmp_path).weights == str(tmp_path / name)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("config", "MODEL: {", "The recipe that .* carries cannot be read .*--cfg"),
        ("config", "just a word", r"The recipe that .* carries cannot be read \(it is no mapping of keys\)"),
        ("config", 7, r"The recipe that .* carries cannot be read \(it is no text\)"),
        ("config", {"MODEL": 1}, r"The recipe that .* carries cannot be read \(it is no text\)"),
        ("config", torch.zeros(2), r"The recipe that .* carries cannot be read \(it is no text\)"),
        ("class_names", "[1", "The list of class names that .* cannot be read .*--labels"),
        ("class_names", 7, "The list of class names that .* cannot be read"),
        ("class_names", [1, 2, 3], r"The list of class names that .* \(it is no list of words\)"),
    ],
)
def test_a_checkpoint_whose_description_is_damaged_is_refused(checkpoint, tmp_path, part, value, message):
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, part: value}, tmp_path / "damaged.pt")
    with pytest.raises(CheckpointError, match=message):
        load_trained(tmp_path / "damaged.pt")


def test_a_mistake_in_an_override_is_reported_without_files_that_nobody_has(checkpoint):
    with pytest.raises(ConfigError) as refusal:
        load_trained(checkpoint, opts=["TEST.NUM_CROPS", "3"])
    assert str(refusal.value).startswith(f"the recipe in {checkpoint}: 1 fault")
    assert "carried.yaml" not in str(refusal.value)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_trained(tmp_path)


def test_a_safetensors_file_carries_recipe_and_names_in_its_metadata(checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    metadata = {"config": content["config"], "class_names": json.dumps(CLASS_NAMES)}
    state = {name: value.contiguous() for name, value in content["model_state"].items()}
    save_file(state, tmp_path / "w.safetensors", metadata=metadata)
    assert load_trained(tmp_path / "w.safetensors").class_names == CLASS_NAMES


def test_weights_of_others_need_a_recipe_and_take_one(checkpoint, tmp_path):
    bare = tmp_path / "bare.pt"
    torch.save(torch.load(checkpoint, weights_only=True)["model_state"], bare)
    with pytest.raises(CheckpointError, match="contains no recipe: give the recipe with --cfg"):
        load_trained(bare)
    recipe = checkpoint.with_suffix(".yaml")
    assert load_trained(bare, recipe=str(recipe)).class_names == ["0", "1", "2"]
    labels = tmp_path / "labels.txt"
    labels.write_text("x\ny\nz\n")
    assert load_trained(bare, recipe=str(recipe), labels=str(labels)).class_names == ["x", "y", "z"]


@pytest.mark.parametrize("is_there", [True, False])
def test_names_come_from_the_recipes_label_map_in_any_folder(checkpoint, tmp_path, monkeypatch, is_there):
    (tmp_path / "k3").mkdir()
    if is_there:
        (tmp_path / "k3/labels.txt").write_text("x\ny\nz\n")
    serve_bucket(tmp_path, monkeypatch)
    bare = tmp_path / "bare.pt"
    torch.save(torch.load(checkpoint, weights_only=True)["model_state"], bare)
    opts = ["DATA.PATH_TO_DATA_DIR", "bucket://k3", "DATA.LABEL_MAP", "labels.txt"]

    trained = load_trained("bucket://bare.pt", recipe=str(checkpoint.with_suffix(".yaml")), opts=opts)

    assert trained.class_names == (["x", "y", "z"] if is_there else ["0", "1", "2"])


def test_weights_that_cannot_be_fetched_are_reported_with_the_reason(tmp_path, monkeypatch):
    serve_bucket(tmp_path, monkeypatch).error = PermissionError("token has expired")

    with pytest.raises(CheckpointError, match=r"bucket://w\.pt cannot be fetched .*token has expired"):
        load_trained("bucket://w.pt")


def test_names_of_another_number_of_classes_are_refused(checkpoint, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("x\ny\n")
    with pytest.raises(CheckpointError, match="MODEL.NUM_CLASSES = 3 classes, got 2"):
        load_trained(checkpoint, labels=str(labels))


def test_a_key_that_this_version_does_not_know_is_reported_and_skipped(checkpoint, tmp_path, caplog):
    content = torch.load(checkpoint, weights_only=True)
    content["config"] += "NOVELTY: 1\n"
    torch.save(content, tmp_path / "newer.pt")
    assert load_trained(tmp_path / "newer.pt").class_names == CLASS_NAMES
    assert "does not know: NOVELTY" in caplog.text


def test_the_top_classes_are_named_in_descending_order(checkpoint):
    trained = load_trained(checkpoint)
    assert trained.top(torch.tensor([0.1, 0.7, 0.2]), 2) == [
        (CLASS_NAMES[1], pytest.approx(0.7)),
        (CLASS_NAMES[2], pytest.approx(0.2)),
    ]
