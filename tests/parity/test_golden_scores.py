"""Checkpoints and scores of the reference implementations (how they were made: tests/golden/README.md)."""

import numpy as np
import pytest
import torch
from support.golden import GOLDEN, GoldenModel

from tsn_tsm_plugin.models import create_tsm, create_tsn, load_weights

# In standard deviations of the scores. Float32 sums in another order; measured 6e-7 to 1.2e-6.
TOLERANCE = 1e-5

# How each checkpoint's network is built.
MODELS = {
    "models/mit_online_mobilenetv2": (
        create_tsm,
        {"backbone": "mobilenet_v2", "causal": True, "num_classes": 27, "num_segments": 12},
    ),
    "models/mit_tsm_r50_8f": (create_tsm, {}),
    "models/mit_tsm_r50_nl_8f": (create_tsm, {"non_local": "embedded_gaussian"}),
    "models/mit_tsm_r50_flow_8f": (create_tsm, {"num_classes": 174, "in_channels": 10}),
    "models/mit_tsn_bninception_flow_3f": (
        create_tsn,
        {"backbone": "bn_inception", "num_classes": 51, "num_segments": 3, "in_channels": 10},
    ),
    "models/mit_tsn_bninception_rgb_3f": (
        create_tsn,
        {"backbone": "bn_inception", "num_classes": 51, "num_segments": 3},
    ),
    "models/mit_tsn_r18_flow_3f": (
        create_tsn,
        {"backbone": "resnet18", "num_classes": 101, "num_segments": 3, "in_channels": 10},
    ),
    "models/tsm_mobilenetv2_8f": (create_tsm, {"backbone": "mobilenet_v2"}),
    "models/tsm_r101_8f_sthv2": (create_tsm, {"backbone": "resnet101", "num_classes": 174}),
    "models/tsm_r50_8f": (create_tsm, {}),
    "models/tsm_r50_nl_embedded_gaussian_8f": (create_tsm, {"non_local": "embedded_gaussian"}),
    "models/tsn_densenet161_3f": (create_tsn, {"backbone": "densenet161"}),
    "models/tsn_mobileone_s4_8f": (create_tsn, {"backbone": "mobileone_s4"}),
    "models/tsn_r50_3f": (create_tsn, {"num_segments": 3}),
    "state_dicts/mit_tsm_r101_8f": (create_tsm, {"backbone": "resnet101"}),
    "state_dicts/mit_tsm_r18_8f": (create_tsm, {"backbone": "resnet18"}),
    "state_dicts/mit_tsn_r50_8f": (create_tsn, {}),
    "state_dicts/tsm_mobileone_s4_16f": (create_tsm, {"backbone": "mobileone_s4", "num_segments": 16}),
    "state_dicts/tsm_r50_16f": (create_tsm, {"num_segments": 16}),
    "state_dicts/tsm_r50_8f_temporal_pool": (create_tsm, {"temporal_pool": True}),
    "state_dicts/tsm_r50_nl_dot_product_8f": (create_tsm, {"non_local": "dot_product"}),
    "state_dicts/tsm_r50_nl_gaussian_8f": (create_tsm, {"non_local": "gaussian"}),
    "state_dicts/tsn_r101_8f": (create_tsn, {"backbone": "resnet101"}),
    "state_dicts/tsn_resnext101_32x4d_3f": (create_tsn, {"backbone": "resnext101_32x4d"}),
    "state_dicts/tsn_swin_base_3f": (create_tsn, {"backbone": "swin_base_patch4_window7_224"}),
}


def files_with_scores():
    return sorted(f"models/{path.stem}" for path in (GOLDEN / "models").glob("*.json"))


def test_every_golden_file_is_used():
    found = {str(path.relative_to(GOLDEN).with_suffix("")) for path in GOLDEN.glob("*/*.json")}

    assert found == set(MODELS)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_checkpoint_of_the_references_loads_whole(name):
    golden = GoldenModel.read(name)
    create, options = MODELS[name]
    with torch.device("meta"):
        model = create(**options)

    report = load_weights(model, golden.shapes_only())

    assert (report.missing, report.unexpected) == ([], [])
    assert report.num_mapped + len(report.derived) == len(golden.shapes)


@pytest.mark.parametrize("name", [n for n in files_with_scores() if n != "models/mit_online_mobilenetv2"])
def test_scores_agree_with_the_reference_that_wrote_the_checkpoint(name):
    golden = GoldenModel.read(name)
    create, options = MODELS[name]
    model = create(**options)

    load_weights(model, golden.state_dict())

    assert golden.deviation(model) < TOLERANCE


def test_scores_of_the_online_network_agree_frame_by_frame():
    golden = GoldenModel.read("models/mit_online_mobilenetv2")
    create, options = MODELS[golden.name]
    model = create(**options).eval()
    load_weights(model, golden.state_dict())
    frames = np.random.RandomState(1234).standard_normal(golden.input_shape).astype(np.float32)

    with torch.inference_mode():
        features_TC = model.backbone(torch.from_numpy(frames)).mean((2, 3))
        scores_TK = model.head.fc(features_TC)

    assert (scores_TK - golden.scores).abs().max() < TOLERANCE * golden.scores.std()
