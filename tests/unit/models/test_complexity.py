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
def test_parameters_and_operations_equal_the_published_tables(
    backbone, num_classes, parameters, operations_per_frame
):
    with torch.device("meta"):
        tsn = create_tsn(backbone=backbone, num_classes=num_classes)
        tsm = create_tsm(backbone=backbone, num_classes=num_classes, num_segments=8)
    for model, num_frames in ((tsn, 25), (tsm, 8)):
        complexity = measure_complexity(model, num_frames=num_frames, size=224)
        assert complexity.num_parameters == parameters
        assert complexity.num_operations == num_frames * operations_per_frame


@pytest.mark.parametrize(
    "kind, parameters, published",
    [
        ("embedded_gaussian", 31_682_000, 61.298e9),
        ("dot_product", 31_682_000, 61.298e9),
        ("gaussian", 28_007_888, 59.056e9),
    ],
)
def test_non_local_blocks_are_counted_by_their_definition(kind, parameters, published):
    with torch.device("meta"):
        model = create_tsm(backbone="resnet50", num_segments=8, non_local=kind)
    complexity = measure_complexity(model, num_frames=8, size=224)
    assert complexity.num_parameters == parameters
    assert complexity.num_operations == pytest.approx(published, rel=1e-4)


@pytest.mark.parametrize(
    "backbone, parameters, published, size",
    [
        ("resnext101_32x4d", 42_948_304, 200.26e9 / 25, 224),
        ("densenet161", 27_355_600, 194.61e9 / 25, 224),
        ("swin_base_patch4_window7_224", 87_153_224, 15.47e9, 224),
        ("mobileone_s4", 13_721_848, 3_040_669_312, 224),
        ("mobilenet_v2", 2_736_272, 3.269e9 / 8, 256),
    ],
)
def test_other_backbones_have_the_published_size_and_cost(backbone, parameters, published, size):
    with torch.device("meta"):
        model = create_tsn(backbone=backbone)
    complexity = measure_complexity(model, num_frames=1, size=size)
    assert complexity.num_parameters == parameters
    assert complexity.num_operations == pytest.approx(published, rel=1e-3)


def test_counting_leaves_the_network_in_its_mode():
    with torch.device("meta"):
        model = create_tsn(backbone="resnet18").train()
    measure_complexity(model, num_frames=1, size=32)
    assert model.training
