import re
from urllib.error import URLError

import pytest
import torch
import torchvision

from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.models import pretrained
from tsn_tsm_plugin.models.resnet import resnet18


def test_a_file_of_torchvision_fills_the_backbone(tmp_path):
    classifier = torchvision.models.resnet18()
    torch.save(classifier.state_dict(), tmp_path / "resnet18.pth")

    backbone = resnet18(weights=str(tmp_path / "resnet18.pth"))

    assert torch.equal(backbone.layer4[1].conv2.weight, classifier.layer4[1].conv2.weight)


def test_weights_come_from_the_local_cache_without_a_network(tmp_path, monkeypatch):
    classifier = torchvision.models.resnet18()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save(classifier.state_dict(), tmp_path / "checkpoints" / "resnet18-f37072fd.pth")

    backbone = resnet18(weights="IMAGENET1K_V1")

    assert torch.equal(backbone.conv1.weight, classifier.conv1.weight)


def test_without_cache_and_network_the_file_and_its_place_are_named(tmp_path, monkeypatch):
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
