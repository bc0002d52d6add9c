"""The benchmark of training steps: under which name it keeps its figures."""

from argparse import Namespace

import pytest


@pytest.mark.parametrize(
    ("backbone", "size", "start"),
    [
        ("resnet50", 224, "training_resnet50_cpu2_"),
        ("resnet50", 112, "training_resnet50_112px_cpu2_"),
        ("mobilenet_v2", 224, "training_mobilenet_v2_cpu2_"),
    ],
)
def test_figures_of_another_network_or_size_have_a_name_of_their_own(
    load, monkeypatch, backbone, size, start
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    args = Namespace(backbone=backbone, size=size, threads=2)

    assert load("bench_training").note_name(args).startswith(start)
