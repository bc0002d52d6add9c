"""Attributes of networks in files; a contradiction is refused."""

import pytest
import torch
from support.golden import GoldenModel

from tsn_tsm_plugin import get_cfg
from tsn_tsm_plugin.checkpoints.metadata import attributes_of_model
from tsn_tsm_plugin.checkpoints.read_checkpoint import Checkpoint, read_checkpoint
from tsn_tsm_plugin.checkpoints.translate_keys import translate_checkpoint
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.models import build_model, create_tsm, create_tsn, load_weights
from tsn_tsm_plugin.models.checkpoint_attributes import attributes_of_checkpoint
from tsn_tsm_plugin.models.identify_checkpoint import create_identified, identify

MMACTION_0X = """
model = dict(type='Recognizer2D',
    backbone=dict(type='ResNetTSM', depth=50, num_segments=16, shift_div=8),
    cls_head=dict(type='TSMHead', num_classes=174))
data_root = 'data/sthv1/rawframes'
"""
NAMES_OF_MIT = "TSM_somethingv2_RGB_resnet50_shift8_blockres_avg_segment16_e45.pth"


def small_tsm(**options):
    return create_tsm(**{"backbone": "resnet18", "num_classes": 5, **options})


def facts_of(golden_name: str, *, path: str = "", metadata: dict | None = None) -> dict[str, object]:
    checkpoint = Checkpoint(GoldenModel.read(golden_name).shapes_only(), metadata or {}, path)
    translation = translate_checkpoint(checkpoint)
    return {n: f.value for n, f in attributes_of_checkpoint(checkpoint, translation).items()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("state_dicts/mit_tsn_r50_8f", {"method": "tsn", "num_classes": 400, "dataset": "kinetics400"}),
        ("models/tsm_r101_8f_sthv2", {"method": "tsm", "num_classes": 174, "dataset": "sthv1 or sthv2"}),
        ("state_dicts/tsm_r50_8f_temporal_pool", {"temporal_pool": True, "shift_place": "blockres"}),
        ("state_dicts/tsm_r50_nl_gaussian_8f", {"non_local": "gaussian", "non_local_sub_sample": True}),
        ("models/mit_tsm_r50_nl_8f", {"non_local": "embedded_gaussian"}),
        ("models/mit_online_mobilenetv2", {"method": "tsm", "causal": True, "dataset": "jester"}),
    ],
)
def test_names_and_shapes_show_the_kind_of_network(name, expected):
    assert expected.items() <= facts_of(name).items()


def test_the_configuration_in_a_file_has_segments_and_dataset():
    facts = facts_of("state_dicts/tsm_r50_16f", metadata={"meta": {"config": MMACTION_0X}})

    assert (facts["num_segments"], facts["shift_div"], facts["dataset"]) == (16, 8, "sthv1")


def test_a_number_of_segments_that_no_network_has_is_ignored():
    config = MMACTION_0X.replace("num_segments=16", f"num_segments={'9' * 5000}")

    assert "num_segments" not in facts_of("state_dicts/tsm_r50_16f", metadata={"meta": {"config": config}})


def test_the_file_name_counts_if_nothing_else_does_and_folders_never_do():
    facts = facts_of("state_dicts/tsm_r50_16f", path=f"/downloads/1x1x8_sthv1/{NAMES_OF_MIT}")

    assert (facts["num_segments"], facts["dataset"]) == (16, "sthv2")


@pytest.mark.parametrize(
    ("text", "dataset"),
    [
        ("tsm_r50_1x1x8_50e_sthv1_rgb_20210203-01dce462.pth", "sthv1"),
        ("TSM_something_RGB_resnet50_shift8_blockres_avg_segment8_e45.pth", "sthv1"),
        ("TSM_somethingv2_RGB_resnet50_shift8_blockres_avg_segment8_e45.pth", "sthv2"),
        ("tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb.pth", "kinetics400"),
        ("data/k400", "kinetics400"),
        ("data/k600", "kinetics600"),
        ("tsm_r50_video_1x1x8_50e_diving48_rgb.pth", "diving48"),
        ("my_gestures.pth", "kinetics400"),  # of its 400 classes
    ],
)
def test_a_dataset_is_known_by_the_words_of_the_references(text, dataset):
    assert facts_of("state_dicts/tsm_r50_16f", path=text)["dataset"] == dataset


@pytest.mark.parametrize(
    ("version", "expected"), [({"mmengine_version": "0.8"}, "1.x"), ({"mmaction_version": "0.15"}, "0.x")]
)
def test_the_version_of_mmaction2_is_read_from_its_file(version, expected):
    checkpoint = Checkpoint(GoldenModel.read("models/tsm_r50_8f").shapes_only(), {"meta": version})

    assert str(translate_checkpoint(checkpoint)) == f"MMAction2 {expected}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("models/tsm_mobilenetv2_8f", "mobilenet_v2"),
        ("models/tsn_densenet161_3f", "densenet161"),
        ("models/mit_online_mobilenetv2", "mobilenet_v2"),
        ("state_dicts/mit_tsm_r18_8f", "resnet18"),
        ("state_dicts/tsm_mobileone_s4_16f", "mobileone_s4"),
        ("state_dicts/tsm_r50_nl_dot_product_8f", "resnet50"),
        ("state_dicts/tsn_resnext101_32x4d_3f", "resnext101_32x4d"),
        ("state_dicts/tsn_swin_base_3f", "swin_base_patch4_window7_224"),
    ],
)
def test_the_network_of_a_checkpoint_is_found_and_built(name, expected):
    shapes = GoldenModel.read(name).shapes_only()

    identity = identify(Checkpoint(shapes))
    with torch.device("meta"):
        model = create_identified(identity)

    assert identity.value("backbone") == expected
    assert load_weights(model, shapes).missing == []


def test_an_image_classifier_belongs_to_no_video_network():
    with pytest.raises(CheckpointError, match="is no checkpoint of a TSN or TSM"):
        identify(Checkpoint(torch.nn.Linear(2, 2).state_dict()))


def test_a_network_that_nobody_registered_is_reported_as_unknown():
    strange = {"backbone.a.weight": torch.zeros(1), "head.fc.weight": torch.zeros(2, 2)}

    with pytest.raises(CheckpointError, match="belongs to no registered backbone .*resnet50"):
        identify(Checkpoint(strange))


def save(model, path, **content):
    torch.save({"model_state": model.state_dict(), **content}, path)
    return path


def test_a_file_for_16_segments_is_refused_with_8_unless_that_is_wanted(tmp_path):
    path = save(small_tsm(num_segments=16), tmp_path / "a.pth", config="DATA:\n  NUM_FRAMES: 16\n")

    with pytest.raises(CheckpointError, match=r"num_segments=16 \(according to its recipe\), the model .*=8"):
        load_weights(small_tsm(), path)

    assert load_weights(small_tsm(), path, allow_mismatch=["num_segments"]).missing == []
    assert load_weights(small_tsm(num_segments=16), path).missing == []


def test_the_frames_of_a_tsn_may_differ(tmp_path):
    model = create_tsn(backbone="resnet18", num_classes=5)
    path = save(model, tmp_path / "a.pth", config="DATA:\n  NUM_FRAMES: 3\n")

    assert load_weights(model, path).missing == []


def test_another_share_of_shifted_channels_is_refused(tmp_path):
    path = save(small_tsm(shift_div=4), tmp_path / "a.pth", config="TSM:\n  SHIFT_DIV: 4\n")

    with pytest.raises(CheckpointError, match="shift_div=4"):
        load_weights(small_tsm(), path)


def recipe_for(dataset: str):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE = "resnet18"
    cfg.MODEL.NUM_CLASSES = 174
    cfg.DATA.DATASET = dataset
    return cfg


def test_something_v1_is_refused_by_a_recipe_for_v2_if_the_file_stores_it(tmp_path):
    model = build_model(recipe_for("sthv1"))
    path = save(model, tmp_path / "weights.pth", facts=attributes_of_model(model))

    with pytest.raises(CheckpointError, match=r"dataset=sthv1 \(according to its description\), .*=sthv2"):
        load_weights(build_model(recipe_for("sthv2")), path)

    load_weights(build_model(recipe_for("sthv1")), path)
    load_weights(build_model(recipe_for("sthv2")), path, allow_mismatch=["dataset"])
    load_weights(build_model(recipe_for("sthv2")), path, ignore_head=True)  # fine-tuning


def test_words_in_a_file_name_warn_of_another_dataset_and_decide_nothing(tmp_path, caplog):
    path = save(small_tsm(num_classes=174), tmp_path / "tsm_r18_1x1x8_50e_sthv1_rgb.pth")

    load_weights(build_model(recipe_for("sthv2")), path)

    assert "its file name names sthv1, the recipe sthv2" in caplog.text


def test_words_in_the_path_of_a_data_folder_decide_nothing(tmp_path):
    cfg = recipe_for("")
    cfg.DATA.PATH_TO_DATA_DIR = "/home/x/jester_project/gestures"
    path = save(build_model(cfg), tmp_path / "a.pt", config=cfg.dump())
    cfg.DATA.PATH_TO_DATA_DIR = "/home/x/motion_study/gestures"

    assert load_weights(build_model(cfg), path).missing == []


def test_classes_of_other_names_are_refused_unless_that_is_wanted(tmp_path):
    path = save(small_tsm(), tmp_path / "a.pt", class_names=["a", "b", "c", "d", "e"])

    with pytest.raises(CheckpointError, match="class 3 is 'd' in the file and 'x' in the label map"):
        load_weights(small_tsm(), path, class_names=["a", "b", "c", "x", "e"])

    load_weights(small_tsm(), path, class_names=["a", "b", "c", "d", "e"])
    load_weights(small_tsm(), path, class_names=["a", "b", "c", "x", "e"], allow_mismatch=["dataset"])


@pytest.mark.parametrize(
    "facts", ["{", "[1]", {"num_segments": "8"}, {"num_segments": True}, {"no such fact": 1}, {1: 2}, [], 7]
)
def test_a_damaged_description_is_one_line(tmp_path, facts):
    path = save(small_tsm(), tmp_path / "a.pt", facts=facts)

    with pytest.raises(CheckpointError, match="damaged description of its network"):
        load_weights(small_tsm(), path)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (torch.full((64, 3, 7, 7), torch.nan), "not finite, NaN or infinite"),
        (torch.full((64, 3, 7, 7), 1e300, dtype=torch.float64), "not finite, NaN or infinite"),
        (torch.ones(64, 3, 7, 7, dtype=torch.complex64), "complex64"),
        (torch.ones(64, 3, 7, 7, dtype=torch.bool), "bool"),
        (torch.ones(64, 3, 7, 7, dtype=torch.int8), "int8"),
    ],
)
def test_values_that_are_no_weights_are_refused(tmp_path, value, reason):
    model = small_tsm()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.save({**model.state_dict(), "backbone.conv1.weight": value}, tmp_path / "a.pt")

    with pytest.raises(CheckpointError, match=reason):
        load_weights(model, tmp_path / "a.pt")

    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_flow_checkpoint_is_called_one(tmp_path):
    flow = {**small_tsm().state_dict(), "backbone.conv1.weight": torch.zeros(64, 10, 7, 7)}

    with pytest.raises(CheckpointError, match=r"network for optical flow \(5 pairs\), the model takes RGB"):
        load_weights(small_tsm(), flow)
    assert identify(Checkpoint(flow)).attributes["in_channels"].value == 10


def test_a_tsn_starts_a_tsm_without_its_classifier():
    tsn = create_tsn(backbone="resnet18", num_classes=7)
    tsm = small_tsm(non_local="gaussian")

    with pytest.raises(CheckpointError, match=r"ignore_head=True"):
        load_weights(small_tsm(num_classes=7), tsn.state_dict())
    report = load_weights(tsm, tsn.state_dict(), ignore_head=True)

    assert all(name.startswith("head.") or ".non_local." in name for name in report.missing)
    assert torch.equal(tsm.backbone.layer1[0].conv1.net.weight, tsn.backbone.layer1[0].conv1.weight)


def test_a_bidirectional_file_is_refused_by_a_causal_model():
    golden = GoldenModel.read("state_dicts/mit_tsm_r18_8f")

    with pytest.raises(CheckpointError, match=r"causal=False .*, the model for causal=True"):
        load_weights(small_tsm(num_classes=400, causal=True), golden.state_dict())


def test_the_online_file_is_refused_by_a_bidirectional_model():
    golden = GoldenModel.read("models/mit_online_mobilenetv2")
    model = create_tsm(backbone="mobilenet_v2", num_classes=27)

    with pytest.raises(CheckpointError, match="causal=True"):
        load_weights(model, golden.state_dict())


@pytest.mark.parametrize("of_file", [False, True])
def test_own_files_of_the_other_direction_are_refused_unless_that_is_wanted(tmp_path, of_file):
    cfg = recipe_for("sthv1")
    cfg.TSM.CAUSAL = of_file
    path = save(build_model(cfg), tmp_path / "own.pt", config=cfg.dump())
    cfg.TSM.CAUSAL = not of_file

    with pytest.raises(CheckpointError, match=rf"causal={of_file} \(according to its recipe\), the model"):
        load_weights(build_model(cfg), path)

    assert load_weights(build_model(cfg), path, allow_mismatch=["causal"]).missing == []
    assert create_identified(identify(read_checkpoint(path))).causal is of_file


@pytest.mark.parametrize(
    ("key", "fact"), [("USE_SCALE", "non_local_use_scale"), ("SUB_SAMPLE", "non_local_sub_sample")]
)
def test_own_files_with_other_non_local_blocks_are_refused(tmp_path, key, fact):
    cfg = recipe_for("sthv1")
    cfg.NONLOCAL.INSTANTIATION = "embedded_gaussian"
    of_file = not cfg.NONLOCAL[key]
    cfg.NONLOCAL[key] = of_file
    path = save(build_model(cfg), tmp_path / "own.pt", config=cfg.dump())
    assert load_weights(build_model(cfg), path).missing == []
    cfg.NONLOCAL[key] = not of_file

    with pytest.raises(CheckpointError, match=f"{fact}={of_file} "):
        load_weights(build_model(cfg), path)

    built = create_identified(identify(read_checkpoint(path)))
    assert getattr(built.non_local, fact.removeprefix("non_local_")) is of_file


def test_what_is_not_compared_cannot_be_ignored():
    model = small_tsm()

    with pytest.raises(CheckpointError, match="takes num_segments, .*; got backbone"):
        load_weights(model, model.state_dict(), allow_mismatch=["backbone"])


def test_dot_product_and_embedded_gaussian_have_the_same_names_but_other_file_names(tmp_path):
    path = save(small_tsm(non_local="dot_product"), tmp_path / "tsm_nl_dot_product_r18.pth")

    with pytest.raises(CheckpointError, match="non_local=dot_product"):
        load_weights(small_tsm(non_local="embedded_gaussian"), path)


def test_non_local_blocks_that_the_model_lacks_are_refused():
    saved = small_tsm(non_local="gaussian").state_dict()

    with pytest.raises(
        CheckpointError, match="further non-local blocks after layer2.0, layer3.0 and the model"
    ):
        load_weights(small_tsm(), saved)


def test_swin_of_timm_0_6_loads_with_its_tables_derived():
    golden = GoldenModel.read("state_dicts/tsn_swin_base_3f")
    old = {}
    for name, value in golden.shapes_only().items():
        parts = name.split(".")
        if "downsample" in parts:
            parts[2] = str(int(parts[2]) - 1)
        old[".".join(parts)] = value
    old["backbone.layers.0.blocks.0.attn.relative_position_index"] = torch.empty(49, 49, device="meta")
    old["backbone.layers.0.blocks.1.attn_mask"] = torch.empty(64, 49, 49, device="meta")
    with torch.device("meta"):
        model = create_tsn(backbone="swin_base_patch4_window7_224")

    report = load_weights(model, old)

    assert "backbone.layers.0.downsample.reduction.weight" in old
    assert (report.missing, report.unexpected, report.num_mapped) == ([], [], 329)
    assert len(report.derived) == 2
