"""Commands of mit-han-lab's main.py and SlowFast's configs, and the recipes that come of them."""

import pytest
import torch

from tsn_tsm_plugin import build_model, load_cfg
from tsn_tsm_plugin.tools import convert_config

KINETICS = """
CUDA_VISIBLE_DEVICES=0,1 python main.py kinetics RGB \\
     --arch resnet50 --num_segments 8 \\
     --gd 20 --lr 0.02 --wd 1e-4 --lr_steps 20 40 --epochs 50 \\
     --batch-size 128 -j 16 --dropout 0.4 --consensus_type=avg --eval-freq=1 \\
     --shift --shift_div=4 --shift_place=block --npb --dense_sample --non_local --gpus 0 1
"""
SLOW = """
TRAIN: {BATCH_SIZE: 32, EVAL_PERIOD: 5, MIXED_PRECISION: True}
DATA: {NUM_FRAMES: 8, SAMPLING_RATE: 4, TRAIN_JITTER_SCALES: [256, 320], TEST_CROP_SIZE: 224}
RESNET: {DEPTH: 101, TRANS_FUNC: bottleneck_transform}
SOLVER: {BASE_LR: 0.2, WARMUP_EPOCHS: 3.0, WARMUP_START_LR: 0.02, COSINE_END_LR: 0.002, MAX_EPOCH: 30}
MODEL: {NUM_CLASSES: 174, ARCH: slow, LOSS_FUNC: bce_logit}
AUG: {ENABLE: True, AA_TYPE: rand-m7-n4-mstd0.5-inc1, COLOR_JITTER: 0.4}
BN: {NORM_TYPE: sync_batchnorm}
MYSTERY: {KEY: 3}
NUM_GPUS: 8
OUTPUT_DIR: .
"""


def converted(folder, *arguments: str):
    out = folder / "recipe.yaml"
    assert convert_config.main([*arguments, "--out", str(out)]) == 0
    return load_cfg(out)


def test_a_training_command_becomes_the_same_recipe(tmp_path):
    cfg = converted(tmp_path, "--command", KINETICS)
    assert (cfg.MODEL.ARCH, cfg.MODEL.BACKBONE, cfg.MODEL.BACKBONE_WEIGHTS) == (
        "tsm",
        "resnet50",
        "IMAGENET1K_V1",
    )
    assert (cfg.MODEL.NUM_CLASSES, cfg.MODEL.DROPOUT_RATE, cfg.MODEL.PARTIAL_BN) == (400, 0.4, False)
    assert (cfg.TSM.SHIFT_DIV, cfg.TSM.SHIFT_PLACE) == (4, "block")
    assert cfg.NONLOCAL.INSTANTIATION == "embedded_gaussian"
    assert (cfg.DATA.FORMAT, cfg.DATA.FRAME_TEMPLATE, cfg.DATA.NUM_FRAMES) == ("frames", "img_{:05}.jpg", 8)
    assert (cfg.DATA.SAMPLER, cfg.TEST.NUM_ENSEMBLE_VIEWS) == ("dense", 10)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.CLIP_GRAD_L2NORM) == (0.02, 1e-4, 20.0)
    assert (cfg.SOLVER.STEPS, cfg.SOLVER.LRS, cfg.SOLVER.MAX_EPOCH) == ((0, 20, 40), (1.0, 0.1, 0.01), 50)
    assert (cfg.TRAIN.BATCH_SIZE, cfg.DATA_LOADER.NUM_WORKERS, cfg.TRAIN.EVAL_PERIOD) == (128, 16, 1)
    assert (cfg.DATA.RANDOM_FLIP, cfg.DATA.TRAIN_SHORT_SIDE, cfg.TRAIN.DROP_LAST) == (True, 0, True)


def test_what_a_command_skips_is_what_main_py_would_take(tmp_path):
    cfg = converted(tmp_path, "--command", "python main.py something RGB --arch resnet50")
    assert (cfg.MODEL.ARCH, cfg.DATA.NUM_FRAMES, cfg.MODEL.PARTIAL_BN) == ("tsn", 3, True)
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.STEPS, cfg.TRAIN.BATCH_SIZE) == (120, (0, 50, 100), 128)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.CLIP_GRAD_L2NORM) == (0.001, 5e-4, 0.0)
    assert (cfg.MODEL.NUM_CLASSES, cfg.DATA.FRAME_TEMPLATE, cfg.DATA.RANDOM_FLIP) == (174, "{:05}.jpg", False)


@pytest.mark.parametrize(
    ("start", "ignores_head", "factor"),
    [("TSM_kinetics_RGB_resnet50.pth", True, 5.0), ("TSM_ucf101_RGB_resnet50.pth", False, 1.0)],
)
def test_weights_of_another_dataset_are_tuned_from_without_their_classifier(
    tmp_path, start, ignores_head, factor
):
    command = f"python main.py ucf101 RGB --arch resnet50 --shift --lr_type cos --tune_from={start}"
    cfg = converted(tmp_path, "--command", command)
    assert (cfg.TRAIN.CHECKPOINT_FILE_PATH, cfg.TRAIN.CHECKPOINT_IGNORE_HEAD) == (start, ignores_head)
    assert (cfg.SOLVER.CLASSIFIER_LR_MULT, cfg.SOLVER.LR_POLICY) == (factor, "cosine")


def test_a_command_of_tsn_pytorch_keeps_its_lists_and_defaults(tmp_path):
    cfg = converted(tmp_path, "--command", "python main.py ucf101 RGB train.txt val.txt --num_segments 3")
    assert (cfg.DATA.TRAIN_LIST, cfg.DATA.VAL_LIST, cfg.MODEL.BACKBONE) == (
        "train.txt",
        "val.txt",
        "resnet101",
    )
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.STEPS, cfg.SOLVER.CLASSIFIER_LR_MULT) == (45, (0, 20, 40), 1.0)


def test_a_shell_script_is_read_and_never_run(tmp_path, capsys):
    script = tmp_path / "train.sh"
    script.write_text(f"#!/bin/sh\n# Trains.\ntouch {tmp_path}/ran\n{KINETICS}")
    assert converted(tmp_path, str(script)).DATA.SAMPLER == "dense"
    assert not (tmp_path / "ran").exists()


def test_options_that_nobody_knows_and_steps_left_to_the_user_are_reported(tmp_path, capsys):
    converted(
        tmp_path, "--command", "python main.py mine RGB --arch resnet50 --warp 9 --resume x.pth --evaluate"
    )
    said = capsys.readouterr().err
    for text in ("--warp 9", "--resume x.pth", "--evaluate", "dataset 'mine' is unknown there"):
        assert text in said


def test_a_tsm_with_bn_inception_shifts_the_convolutions_that_read_a_block(tmp_path, capsys):
    cfg = converted(tmp_path, "--command", "python main.py ucf101 RGB --shift --num_segments 4")
    assert "changed: --shift_place blockres with BNInception" in " ".join(capsys.readouterr().err.split())
    with torch.device("meta"):
        model = build_model(cfg)
    assert len(model.shift_sites) == 28 and model.shift_sites[0] == "inception_3a_1x1"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "must call main.py"),
        ("python train.py", "must call main.py"),
        ("python main.py something", "the following arguments are required: modality"),
        ("python main.py something RGB --lr fast", "invalid float value: 'fast'"),
        ("python main.py 'something", "cannot be split into words"),
        ("python main.py something RGB --lr_steps 20 inf", "--lr_steps must be numbers of epochs"),
    ],
)
def test_a_command_that_is_none_is_refused_in_one_line(capsys, command, message):
    assert convert_config.main(["--command", command]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_config_of_slowfast_becomes_a_recipe_that_trains_alike(tmp_path, capsys):
    (tmp_path / "SLOW.yaml").write_text(SLOW)
    cfg = converted(tmp_path, str(tmp_path / "SLOW.yaml"))
    assert (cfg.MODEL.BACKBONE, cfg.MODEL.NUM_CLASSES, cfg.DATA.MULTI_LABEL) == ("resnet101", 174, True)
    assert (cfg.DATA.SAMPLER, cfg.DATA.NUM_FRAMES, cfg.DATA.DENSE_WINDOW) == ("dense", 8, 32)
    assert cfg.DATA.MEAN == pytest.approx([114.75] * 3) and cfg.DATA.STD == pytest.approx([57.375] * 3)
    assert (cfg.TRAIN.BATCH_SIZE, cfg.TRAIN.MIXED_PRECISION, cfg.BN.NORM_TYPE) == (
        32,
        "fp16",
        "sync_batchnorm",
    )
    assert (cfg.SOLVER.LR_POLICY, cfg.SOLVER.LR_PER_STEP, cfg.SOLVER.NESTEROV) == ("cosine", True, True)
    assert (cfg.SOLVER.WARMUP_START_FACTOR, cfg.SOLVER.COSINE_END_LR) == (0.1, 0.01)
    assert (cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS, cfg.DATA.TEST_SHORT_SIDE) == (10, 3, 224)
    assert (cfg.AUG.AA_TYPE, cfg.AUG.COLOR_JITTER) == ("rand-m7-n4-mstd0.5-inc1", (0.4, 0.4, 0.4, 0.0))
    said = capsys.readouterr().err
    assert "not carried over: MYSTERY.KEY = 3" in said and "RESNET.TRANS_FUNC" in said
    assert "NUM_GPUS" not in said


def test_a_small_config_of_slowfast_has_its_defaults_and_keeps_several_labels(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("DATA: {MULTI_LABEL: True}\n")

    assert converted(tmp_path, str(tmp_path / "c.yaml")).DATA.MULTI_LABEL
    notes = capsys.readouterr().err
    assert "network 'slowfast'" in notes and "MULTI_LABEL" not in notes


def test_a_value_of_another_type_in_slowfasts_config_is_one_line(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("DATA: {MEAN: 3}\n")
    assert convert_config.main([str(tmp_path / "a.yaml")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "modality", "std"),
    [
        ("something Flow --arch resnet50 --shift", "flow", (57.63, 57.63)),
        ("ucf101 Flow train.txt val.txt --arch BNInception --flow_pref flow_", "flow", (1.0, 1.0)),
        ("ucf101 RGBDiff train.txt val.txt --arch resnet101", "rgb_diff", (255.0, 255.0, 255.0)),
        ("ucf101 RGB train.txt val.txt --arch BNInception", "rgb", (1.0, 1.0, 1.0)),
    ],
)
def test_a_command_keeps_its_modality_and_its_normalisation(tmp_path, command, modality, std):
    cfg = converted(tmp_path, "--command", f"python main.py {command}")
    assert (cfg.DATA.MODALITY, cfg.DATA.STD, cfg.MODEL.PARTIAL_BN) == (modality, std, True)
    if modality == "flow":
        assert cfg.DATA.FRAME_TEMPLATE == "flow_{}_{:05}.jpg"
