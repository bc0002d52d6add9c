"""The benchmark of training steps: under which name it keeps its figures."""

from argparse import Namespace

import pytest


@pytest.mark.parametrize(
    ("backbone", "size", "subject"),
    [
        ("resnet50", 224, "training_resnet50"),
        ("resnet50", 112, "training_resnet50_112px"),
        ("mobilenet_v2", 224, "training_mobilenet_v2"),
    ],
)
def test_figures_of_another_network_or_size_have_a_name_of_their_own(load, backbone, size, subject):
    assert load("bench_training").subject_of(Namespace(backbone=backbone, size=size)) == subject
