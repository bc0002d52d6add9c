import pytest
import torch

from tsn_tsm_plugin import create_tsm, create_tsn
from tsn_tsm_plugin.models.complexity import measure_complexity


@pytest.mark.parametrize(
    "backbone, num_classes, parameters, operations_per_frame",
    [
        ("resnet50", 400, 24_327_632, 4_109_364_224),
        ("resnet101", 400, 43_319_760, 7_831_821_312),
        ("resnet50", 174, 23_864_558, 4_109_364_224),
        ("resnet101", 174, 42_856_686, 7_831_821_312),
    ],
)
def test_parameters_and_operations_are_those_of_the_published_tables(
    backbone, num_classes, parameters, operations_per_frame
):
    with torch.device("meta"):
        tsn = create_tsn(backbone=backbone, num_classes=num_classes)
        tsm = create_tsm(backbone=backbone, num_classes=num_classes, num_segments=8)
    for model, num_frames in ((tsn, 25), (tsm, 8)):
        complexity = measure_complexity(model, num_frames=num_frames, size=224)
        assert complexity.num_parameters == parameters
        assert complexity.num_operations == num_frames * operations_per_frame


def test_counting_leaves_the_network_in_its_mode():
    with torch.device("meta"):
        model = create_tsn(backbone="resnet18").train()
    measure_complexity(model, num_frames=1, size=32)
    assert model.training
