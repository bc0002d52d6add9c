import re
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from support.bucket import serve_bucket

from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.models.backbones import imagenet_weights as pretrained
from tsn_tsm_plugin.models.backbones.create import create_backbone
from tsn_tsm_plugin.models.backbones.resnet import resnet18


def test_a_file_of_torchvision_fills_the_backbone_and_is_logged(tmp_path, caplog):
    classifier = torchvision.models.resnet18()
    torch.save(classifier.state_dict(), tmp_path / "resnet18.pth")

    with caplog.at_level("INFO"):
        backbone = resnet18(weights=str(tmp_path / "resnet18.pth"))

    count = len(classifier.state_dict())
    assert f"Backbone weights: {count} tensors from {tmp_path}/resnet18.pth" in caplog.text

    assert torch.equal(backbone.layer4[1].conv2.weight, classifier.layer4[1].conv2.weight)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(torch.full((64, 3, 7, 7), torch.nan), "not finite"), (torch.ones(64, 3, 7, 7).to(torch.int8), "int8")],
    ids=["nan", "int8"],
)
def test_values_that_are_no_weights_are_refused(tmp_path, value, reason):
    classifier = torchvision.models.resnet18()
    torch.save({**classifier.state_dict(), "conv1.weight": value}, tmp_path / "resnet18.pth")
    with pytest.raises(CheckpointError, match=rf"resnet18\.pth cannot be loaded: .*{reason}"):
        resnet18(weights=str(tmp_path / "resnet18.pth"))


@pytest.mark.parametrize("name", ["resnet18", "torchvision/resnet18", "timm/resnet18"])
def test_a_file_that_only_iopath_can_open_fills_the_backbone(tmp_path, monkeypatch, name):
    classifier = torchvision.models.resnet18()
    torch.save(classifier.state_dict(), tmp_path / "resnet18.pth")
    serve_bucket(tmp_path, monkeypatch)

    backbone = create_backbone(name, weights="bucket://resnet18.pth")

    loaded = backbone.get_submodule("trunk" if "/" in name else "")
    assert torch.equal(loaded.layer4[1].conv2.weight, classifier.layer4[1].conv2.weight)


def test_an_address_that_cannot_be_opened_is_refused_with_what_is_missing():
    with pytest.raises(CheckpointError, match="s3://weights/resnet18.pth cannot be fetched"):
        resnet18(weights="s3://weights/resnet18.pth")


def test_weights_come_from_the_local_cache_without_a_network(tmp_path, monkeypatch):
    classifier = torchvision.models.resnet18()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save(classifier.state_dict(), tmp_path / "checkpoints" / "resnet18-f37072fd.pth")

    backbone = resnet18(weights="IMAGENET1K_V1")

    assert torch.equal(backbone.conv1.weight, classifier.conv1.weight)


def test_without_cache_and_network_the_file_and_its_folder_are_named(tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)

    with pytest.raises(CheckpointError) as refusal:
        resnet18(weights="IMAGENET1K_V1")

    assert str(tmp_path / "checkpoints" / "resnet18-f37072fd.pth") in str(refusal.value)
    assert "fetch https://download.pytorch.org/models/resnet18-f37072fd.pth" in str(refusal.value)


def test_unknown_weights_are_answered_with_the_known_ones():
    with pytest.raises(CheckpointError, match=re.escape("one of ['DEFAULT', 'IMAGENET1K_V1'] for resnet18")):
        resnet18(weights="IMAGENET1K_V7")


def test_weights_of_another_network_are_refused_before_anything_is_loaded():
    backbone = resnet18()
    before = backbone.conv1.weight.clone()

    with pytest.raises(CheckpointError, match="is not an ImageNet checkpoint of this backbone"):
        pretrained.load_backbone_state_dict(
            backbone, torchvision.models.resnet34().state_dict(), source="resnet34.pth"
        )

    assert torch.equal(backbone.conv1.weight, before)


def test_a_densenet_file_from_before_its_layers_had_names_is_read(tmp_path):
    classifier = torchvision.models.densenet161()
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): value
        for name, value in classifier.state_dict().items()
    }
    torch.save(old, tmp_path / "densenet161.pth")

    backbone = create_backbone("densenet161", weights=str(tmp_path / "densenet161.pth"))

    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    expected = classifier.features.denseblock4.denselayer1.conv2.weight
    assert torch.equal(backbone.features.denseblock4.denselayer1.conv2.weight, expected)


def test_the_names_of_mmpretrain_are_understood_and_a_partial_file_refused(tmp_path):
    own = create_backbone("mobilenet_v2").state_dict()
    named_there = {
        "backbone.conv1.conv.weight": own["features.0.0.weight"] + 1,
        **{
            f"backbone.conv1.bn.{name}": own[f"features.0.1.{name}"]
            for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        },
        "backbone.conv2.conv.weight": own["features.18.0.weight"],
        "head.fc.weight": torch.zeros(1000, 1280),
    }
    torch.save({"state_dict": named_there}, tmp_path / "mobilenet_v2.pth")

    with pytest.raises(CheckpointError, match=r"\d+ keys are missing .*, 0 unexpected"):
        create_backbone("mobilenet_v2", weights=str(tmp_path / "mobilenet_v2.pth"))


@pytest.mark.parametrize("name", ["timm/resnet10t", "torchvision/resnet18"])
def test_any_backbone_reads_a_file_of_its_library(tmp_path, name):
    library, _, network = name.partition("/")
    create = timm.create_model if library == "timm" else torchvision.models.get_model
    classifier = create(network)
    torch.save(classifier.state_dict(), tmp_path / "weights.pth")

    backbone = create_backbone(name, weights=str(tmp_path / "weights.pth"))

    assert torch.equal(backbone.trunk.layer4[0].conv2.weight, classifier.layer4[0].conv2.weight)


@pytest.mark.parametrize("tag", ["c3_in1k", "resnet10t.c3_in1k", "default"])
def test_weights_of_timm_that_cannot_be_had_are_named_with_their_address(monkeypatch, tag):
    create_model = timm.create_model

    def unreachable(name, pretrained=False, **options):
        if pretrained:
            raise OSError("no network")
        return create_model(name, **options)

    monkeypatch.setattr(timm, "create_model", unreachable)

    with pytest.raises(
        CheckpointError, match="Fetch the weights file of https://huggingface.co/timm/resnet10t"
    ):
        create_backbone("timm/resnet10t", weights=tag)


def test_an_unknown_tag_of_timm_is_answered_with_the_known_ones():
    with pytest.raises(CheckpointError, match=re.escape("one of ['c3_in1k'] for timm's resnet10t, got 'v9'")):
        create_backbone("timm/resnet10t", weights="v9")
