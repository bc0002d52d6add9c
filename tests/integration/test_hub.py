"""`torch.hub.load` on a local checkout."""

import pytest
import torch
from support.trained import write_checkpoint


def load(repository, name: str, *args, **options):
    return torch.hub.load(str(repository), name, *args, source="local", **options)


def test_an_unknown_name_is_refused(repository):
    with pytest.raises(RuntimeError, match="Cannot find callable tsm_r5000"):
        load(repository, "tsm_r5000")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tsn_r50", "TSN: backbone=resnet50"),
        ("tsm_mobilenet_v2", "TSM: backbone=mobilenet_v2"),
        ("tsn_resnext101_32x4d", "TSN: backbone=resnext101_32x4d"),
    ],
)
def test_a_network_is_created_by_name(repository, name, said):
    assert load(repository, name, num_classes=5).describe().startswith(said)


def test_a_trained_network_is_loaded_from_its_file(repository, tmp_path):
    weights = write_checkpoint(tmp_path / "w.pt")
    model = load(repository, "trained", str(weights))
    assert not model.training
    assert torch.equal(
        model.head.fc.weight.cpu(), torch.load(weights, weights_only=True)["model_state"]["head.fc.weight"]
    )
