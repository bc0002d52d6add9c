"""The published checkpoints by the name of their recipe; no test here uses the network."""

import hashlib
import shutil

import pytest
import torch

from tsn_tsm_plugin.checkpoints import download as downloading
from tsn_tsm_plugin.checkpoints import zoo
from tsn_tsm_plugin.checkpoints.read_checkpoint import fetch_checkpoint
from tsn_tsm_plugin.config.recipes import recipe_names
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.inference.trained_model import load_trained
from tsn_tsm_plugin.models import create_tsm


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder in place of the network: addresses are files in it; torch.hub's cache is empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    served = tmp_path / "site"
    served.mkdir()
    monkeypatch.setattr(downloading, "is_reachable", lambda url: True)
    requests = []

    def copy(url, dst, hash_prefix=None, progress=True):
        requests.append(url)
        source = served / url.rsplit("/", 1)[1]
        if not source.exists():
            raise OSError("404")
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        if hash_prefix and not digest.startswith(hash_prefix):
            raise RuntimeError(f'invalid hash value (expected "{hash_prefix}", got "{digest}")')
        shutil.copy(source, dst)

    monkeypatch.setattr(torch.hub, "download_url_to_file", copy)
    return served, requests


def publish(served, monkeypatch, row="tsm/k400_r50_8f", **options):
    model = create_tsm(**{"backbone": "resnet18", "num_classes": 400, **options})
    torch.save({"state_dict": model.state_dict()}, served / "new.pth")
    digits = hashlib.sha256((served / "new.pth").read_bytes()).hexdigest()[:8]
    name = f"tsm_r18_1x1x8_{digits}-{digits}.pth".replace(f"_{digits}-", "-")
    (served / "new.pth").rename(served / name)
    monkeypatch.setitem(zoo.ZOO, row, f"https://example.org/{name}")
    return model


def test_every_published_row_is_a_recipe_and_its_file_carries_its_hash():
    assert set(zoo.ZOO) <= set(recipe_names())
    assert len(zoo.ZOO) == 40 == len(set(zoo.ZOO.values()))
    assert all(url.startswith("https://download.openmmlab.com/mmaction/") for url in zoo.ZOO.values())
    assert all(int(url[-12:-4], 16) > 0 and url.endswith(".pth") for url in zoo.ZOO.values())


def test_a_row_is_downloaded_once_and_loaded_by_its_name(site, monkeypatch):
    served, requests = site
    published = publish(served, monkeypatch)

    for _ in range(2):
        model = create_tsm(backbone="resnet18", weights="k400_r50_8f")

    assert torch.equal(model.head.fc.weight, published.head.fc.weight)
    assert len(requests) == 1


def test_a_row_brings_its_recipe(site, monkeypatch):
    served, _ = site
    publish(served, monkeypatch, row="tsm/jester_r50_8f", num_classes=27)

    trained = load_trained("zoo:tsm/jester_r50_8f", opts=["MODEL.BACKBONE", "resnet18"])

    assert (trained.cfg.DATA.DATASET, trained.cfg.MODEL.NUM_CLASSES) == ("jester", 27)


def test_another_file_at_the_address_is_refused(site, monkeypatch):
    served, _ = site
    publish(served, monkeypatch)
    for file in served.iterdir():
        file.write_bytes(b"another")

    with pytest.raises(CheckpointError, match="could not be downloaded .*invalid hash"):
        fetch_checkpoint("zoo:tsm/k400_r50_8f")


def test_a_row_that_does_not_exist_is_answered_with_near_ones():
    with pytest.raises(CheckpointError, match=r"no row 'tsm/k400_r50_9f'; it has tsm/k400_r50_8f"):
        fetch_checkpoint("zoo:tsm/k400_r50_9f")


@pytest.mark.parametrize(
    "load",
    [
        lambda name: create_tsm(backbone="resnet18", weights=name),
        lambda name: create_tsm(backbone="timm/resnet10t", weights=name),
        load_trained,
    ],
    ids=["torchvision", "timm", "load_trained"],
)
@pytest.mark.parametrize("name", ["k400_r50_8ff", "tsm/k400_r50_8ff"])
def test_a_misspelt_row_without_its_prefix_is_answered_with_near_ones(load, name):
    with pytest.raises(CheckpointError, match=r"Near rows of the model zoo: .*zoo:tsm/k400_r50_8f\b"):
        load(name)


def test_the_name_of_a_backbones_weights_is_no_row():
    with pytest.raises(CheckpointError) as error:
        create_tsm(backbone="resnet18", weights="IMAGENET1K_V9")
    assert "zoo" not in str(error.value)


def test_without_a_network_one_sentence_names_the_file_to_fetch_and_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(downloading, "is_reachable", lambda url: False)

    with pytest.raises(
        CheckpointError, match=r"does not answer\): fetch https://download\.openmmlab\.com\S+"
    ):
        create_tsm(weights="k400_r50_8f")
