"""Scores of the reference implementations, from tests/golden (how they were made: README there)."""

import pytest
from support.golden import GoldenModel

from tsn_tsm_plugin.models import create_tsm, create_tsn, load_weights

# Float32 convolutions summed in another order; measured 6e-7 to 1.2e-6.
TOLERANCE = 1e-5


@pytest.mark.parametrize(
    ("name", "create", "options"),
    [
        ("tsn_r50_3f", create_tsn, {"num_segments": 3}),
        ("tsm_r50_8f", create_tsm, {}),
        ("tsm_r101_8f_sthv2", create_tsm, {"backbone": "resnet101", "num_classes": 174}),
        ("mit_tsm_r50_8f", create_tsm, {}),
    ],
)
def test_scores_agree_with_the_reference_that_wrote_the_checkpoint(name, create, options):
    golden = GoldenModel.read(f"models/{name}")
    model = create(**options)

    report = load_weights(model, golden.state_dict())

    assert (report.missing, report.unexpected) == ([], [])
    assert report.num_mapped == len(golden.shapes)
    assert golden.deviation(model) < TOLERANCE
