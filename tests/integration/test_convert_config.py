"""MMAction2 configs as people have them, and the recipes that come of them."""

import copy

import pytest
import torch

from tsn_tsm_plugin import load_cfg
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.migrate.mmaction2.convert import convert_file, convert_settings
from tsn_tsm_plugin.migrate.mmaction2.python_literals import read_literals
from tsn_tsm_plugin.solver.build import build_loss
from tsn_tsm_plugin.tools import convert_config

BASE_0X = """
model = dict(
    type='Recognizer2D',
    backbone=dict(type='ResNetTSM', pretrained='torchvision://resnet50', depth=50, norm_eval=False,
        shift_div=8),
    cls_head=dict(type='TSMHead', num_classes=400, in_channels=2048, spatial_type='avg',
        consensus=dict(type='AvgConsensus', dim=1), dropout_ratio=0.5, init_std=0.001, is_shift=True),
    train_cfg=None,
    test_cfg=dict(average_clips='prob'))
"""
SCHEDULE_0X = """
optimizer = dict(type='SGD', constructor='TSMOptimizerConstructor', paramwise_cfg=dict(fc_lr5=True),
    lr=0.01, momentum=0.9, weight_decay=0.0001)
optimizer_config = dict(grad_clip=dict(max_norm=20, norm_type=2))
lr_config = dict(policy='step', step=[20, 40])
total_epochs = 50
"""
LEAF_0X = """
_base_ = ['model.py', 'schedule.py']
model = dict(backbone=dict(num_segments=16,
    non_local=((0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 0, 0)),
    non_local_cfg=dict(sub_sample=True, use_scale=False, mode='gaussian')), cls_head=dict(num_segments=16))
dataset_type = 'RawframeDataset'
data_root = 'data/sthv1/rawframes'
ann_file_train = 'data/sthv1/train.txt'
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False)
flip_label_map = {2: 4, 4: 2, 30: 41, 41: 30}
train_pipeline = [
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=16),
    dict(type='RawFrameDecode'),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='MultiScaleCrop', input_size=224, scales=(1, 0.875, 0.75, 0.66), random_crop=False,
        max_wh_scale_gap=1, num_fixed_crops=13),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5, flip_label_map=flip_label_map),
    dict(type='Imgaug', transforms='default'),
    dict(type='GreenScreen', strength=3),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='FormatShape', input_format='NCHW'),
    dict(type='Collect', keys=['imgs', 'label'], meta_keys=[])]
test_pipeline = [
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=16, twice_sample=True, test_mode=True),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='ThreeCrop', crop_size=256),
    dict(type='Normalize', **img_norm_cfg)]
data = dict(videos_per_gpu=6, workers_per_gpu=4,
    train=dict(type=dataset_type, ann_file=ann_file_train, filename_tmpl='{:05}.jpg',
        pipeline=train_pipeline))
evaluation = dict(interval=2, metrics=['top_k_accuracy'])
optimizer = dict(lr=0.0075, weight_decay=0.0005)
work_dir = './work_dirs/x/'
my_own_thing = dict(depth=7)
"""
LEAF_1X = """
model = dict(
    type='Recognizer2D',
    backbone=dict(type='ResNet', pretrained='https://download.pytorch.org/models/resnet50-11ad3fa6.pth',
        depth=50, norm_eval=False),
    cls_head=dict(type='TSNHead', num_classes=400, in_channels=2048, dropout_ratio=0.4, init_std=0.01,
        average_clips='prob'),
    data_preprocessor=dict(type='ActionDataPreprocessor', mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375], format_shape='NCHW',
        blending=dict(type='MixupBlending', num_classes=400, alpha=.2)),
    train_cfg=None, test_cfg=None)
train_pipeline = [
    dict(type='DecordInit'),
    dict(type='DenseSampleFrames', clip_len=1, frame_interval=1, num_clips=5),
    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='PackActionInputs')]
test_pipeline = [
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=25, test_mode=True),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='TenCrop', crop_size=224)]
train_dataloader = dict(batch_size=32, num_workers=8, dataset=dict(type='VideoDataset', ann_file='train.txt'))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_begin=1, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=5),
    dict(type='MultiStepLR', begin=0, end=100, by_epoch=True, milestones=[40, 80], gamma=0.1)]
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=40, norm_type=2))
auto_scale_lr = dict(enable=False, base_batch_size=256)
default_hooks = dict(checkpoint=dict(interval=3, max_keep_ckpts=3))
"""
VALIDATION = """
val_pipeline = [
    dict(type='DenseSampleFrames', clip_len=1, frame_interval=1, num_clips=5, num_sample_positions=4),
    dict(type='Resize', scale=(-1, 160)),
    dict(type='CenterCrop', crop_size=144)]
val_dataloader = dict(batch_size=1, dataset=dict(pipeline=val_pipeline))
"""


def convert(folder, files: dict[str, str], *options: str):
    for name, text in files.items():
        (folder / name).write_text(text)
    out = folder / "recipe.yaml"
    assert convert_config.main([str(folder / "leaf.py"), "--out", str(out), *options]) == 0
    return load_cfg(out), out.read_text()


def test_a_tsm_config_of_0x_becomes_the_same_recipe(tmp_path):
    files = {"model.py": BASE_0X, "schedule.py": SCHEDULE_0X, "leaf.py": LEAF_0X}
    cfg, _ = convert(tmp_path, files)
    assert (cfg.MODEL.ARCH, cfg.MODEL.BACKBONE, cfg.MODEL.BACKBONE_WEIGHTS) == (
        "tsm",
        "resnet50",
        "IMAGENET1K_V1",
    )
    assert (cfg.DATA.NUM_FRAMES, cfg.MODEL.DROPOUT_RATE, cfg.TEST.VIEW_AVERAGE) == (16, 0.5, "probabilities")
    assert cfg.NONLOCAL.INSTANTIATION == "gaussian"
    assert list(cfg.NONLOCAL.LOCATION) == ["layer2.0", "layer2.2", "layer3.0", "layer3.2", "layer3.4"]
    assert (cfg.DATA.FORMAT, cfg.DATA.FRAME_TEMPLATE) == ("frames", "{:05}.jpg")
    assert (cfg.AUG.CROP, cfg.AUG.NUM_FIXED_CROPS, cfg.AUG.AA_TYPE) == ("multi_scale", 13, "imgaug_default")
    assert cfg.DATA.RANDOM_FLIP and cfg.DATA.FLIP_LABEL_PAIRS == ((2, 4), (30, 41))
    assert (cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS, cfg.DATA.TEST_CROP_SIZE) == (2, 3, 256)
    assert (cfg.TRAIN.BATCH_SIZE, cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY) == (48, 0.0075, 5e-4)
    assert (cfg.SOLVER.PARAM_GROUPS, cfg.SOLVER.CLASSIFIER_LR_MULT) == ("tsm", 5.0)
    assert cfg.SOLVER.CLIP_GRAD_L2NORM == 20.0
    assert (cfg.SOLVER.STEPS, cfg.SOLVER.LRS, cfg.SOLVER.MAX_EPOCH) == ((0, 20, 40), (1.0, 0.1, 0.01), 50)
    assert cfg.TRAIN.EVAL_PERIOD == 2


def test_class_weights_become_options_of_the_loss(tmp_path, capsys):
    head = "loss_cls=dict(type='CrossEntropyLoss', class_weight=[1, 2.5, 4]), num_classes=3"
    cfg, _ = convert(tmp_path, {"leaf.py": LEAF_1X.replace("num_classes=400, in", f"{head}, in", 1)})
    loss = build_loss(cfg, class_counts=[1, 1, 1])
    scores = torch.tensor([[0.5, 0.0, 1.0], [0.5, 0.0, 1.0]])
    losses = loss(scores, torch.tensor([0, 2]))
    expected = torch.nn.functional.cross_entropy(scores, torch.tensor([0, 2]), reduction="none")
    torch.testing.assert_close(losses, expected * torch.tensor([1.0, 4.0]))
    assert "by the sum of the weights of their labels there" in capsys.readouterr().err


def test_norm_eval_freezes_the_statistics_of_batch_norm(tmp_path, capsys):
    cfg, _ = convert(tmp_path, {"leaf.py": LEAF_1X.replace("norm_eval=False", "norm_eval=True")})
    assert (cfg.BN.FREEZE_STATS, cfg.MODEL.PARTIAL_BN) == (True, False)
    assert "norm_eval" not in capsys.readouterr().err.replace(str(tmp_path), "")


def test_a_tsn_config_of_1x_becomes_the_same_recipe(tmp_path):
    cfg, _ = convert(tmp_path, {"leaf.py": LEAF_1X}, "--num-gpus", "4")
    assert (cfg.MODEL.ARCH, cfg.MODEL.BACKBONE_WEIGHTS, cfg.MODEL.FC_INIT_STD) == (
        "tsn",
        "IMAGENET1K_V2",
        0.01,
    )
    assert (cfg.DATA.SAMPLER, cfg.DATA.TEST_SAMPLER, cfg.DATA.NUM_FRAMES) == ("dense", "uniform", 5)
    assert (cfg.TEST.NUM_FRAMES, cfg.TEST.NUM_SPATIAL_CROPS) == (25, 10)
    assert (cfg.AUG.CROP, cfg.DATA.RANDOM_FLIP) == ("random_resized", False)
    assert (cfg.MIXUP.ENABLE, cfg.MIXUP.ALPHA, cfg.MIXUP.CUTMIX_ALPHA) == (True, 0.2, 0.0)
    assert (cfg.TRAIN.BATCH_SIZE, cfg.SOLVER.BASE_BATCH_SIZE, cfg.SOLVER.AUTO_SCALE_LR) == (128, 256, False)
    assert (cfg.SOLVER.WARMUP_EPOCHS, cfg.SOLVER.WARMUP_START_FACTOR) == (5.0, 0.1)
    assert (cfg.SOLVER.STEPS, cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.PARAM_GROUPS) == ((0, 40, 80), 100, "tsn")
    assert cfg.SOLVER.CLIP_GRAD_L2NORM == 40.0 and cfg.TRAIN.EVAL_PERIOD == 1


def test_what_was_not_carried_over_is_reported_and_stands_on_top_of_the_recipe(tmp_path, capsys):
    files = {"model.py": BASE_0X, "leaf.py": LEAF_0X}
    _, text = convert(tmp_path, files)
    said = capsys.readouterr().err
    for shown in (said, text.replace("\n# ", " ")):
        assert "GreenScreen" in shown and "my_own_thing.depth = 7" in shown
        assert "schedule.py is not there" in shown and "8 GPUs with 6 videos each" in shown
    assert "skipped, settings of the run's environment: work_dir" in said
    assert text.startswith("# Converted from leaf.py.\n")


def test_a_name_that_other_settings_were_written_with_is_not_reported_as_lost(tmp_path, capsys):
    more = "pairs = {2: 4}\nlost = 5\nmine = dict(depth=lost, pairs=pairs)\n"
    convert(tmp_path, {"leaf.py": LEAF_1X + more})
    said = capsys.readouterr().err
    assert "not carried over: mine.depth = 5" in said and "not carried over: mine.pairs.2 = 4" in said
    assert "carried over: lost" not in said and "carried over: pairs" not in said


def test_a_flow_stream_becomes_one(tmp_path, capsys):
    flow = (
        "train_dataloader['dataset'] = dict(type='RawframeDataset', modality='Flow',\n"
        "    filename_tmpl='flow_{}_{:05d}.jpg')\nmodel['backbone'].update(in_channels=10)\n"
    )
    leaf = LEAF_1X.replace("clip_len=1", "clip_len=5").replace("[123.675, 116.28, 103.53]", "[128] * 10")
    cfg, _ = convert(tmp_path, {"leaf.py": leaf.replace("[58.395, 57.12, 57.375]", "[128] * 10") + flow})
    assert (cfg.DATA.MODALITY, cfg.DATA.MEAN, cfg.DATA.STD) == ("flow", (128.0, 128.0), (128.0, 128.0))
    assert (cfg.DATA.FORMAT, cfg.DATA.FRAME_TEMPLATE) == ("frames", "flow_{}_{:05d}.jpg")
    said = capsys.readouterr().err
    assert "clip_len" not in said and "in_channels" not in said


def test_another_modality_is_reported_as_lost(tmp_path, capsys):
    pose = "train_dataloader['dataset'] = dict(type='RawframeDataset', modality='Pose')\n"
    convert(tmp_path, {"leaf.py": LEAF_1X + pose})
    assert "not carried over: modality = 'Pose'; DATA.MODALITY is rgb" in capsys.readouterr().err


def test_a_recipe_that_still_has_faults_is_written_with_them_reported(tmp_path, capsys):
    (tmp_path / "leaf.py").write_text(LEAF_1X.replace("crop_size=224", "crop_size=320"))
    assert convert_config.main([str(tmp_path / "leaf.py")]) == 0
    printed = capsys.readouterr()
    assert "TEST_CROP_SIZE: 320" in printed.out
    assert "DATA.TEST_CROP_SIZE must be at most DATA.TEST_SHORT_SIDE" in printed.err


def test_pretrained_true_is_the_default_of_the_library_it_comes_from(tmp_path):
    for backbone, name, weights in (
        ("torchvision.densenet161", "densenet161", "IMAGENET1K_V1"),
        ("timm.swin_base_patch4_window7_224", "swin_base_patch4_window7_224", "default"),
        ("timm.resnet50.a1_in1k", "timm/resnet50", "a1_in1k"),
    ):
        more = f"model['backbone'] = dict(type='{backbone}', pretrained=True)\n"
        cfg, text = convert(tmp_path, {"leaf.py": LEAF_1X + more})
        assert (cfg.MODEL.BACKBONE, cfg.MODEL.BACKBONE_WEIGHTS) == (name, weights)
        assert "carried over: model.backbone.pretrained" not in text
    more = "model['backbone'] = dict(type='ResNet', depth=50, pretrained=True)\n"
    _, text = convert(tmp_path, {"leaf.py": LEAF_1X + more})
    assert "# not carried over: model.backbone.pretrained = True" in text


@pytest.mark.parametrize(
    ("weights", "ours"),
    [
        ("torchvision://resnet50", "IMAGENET1K_V1"),
        ("torchvision://resnet50.imagenet1k_v2", "IMAGENET1K_V2"),
        ("https://download.pytorch.org/models/resnet50-11ad3fa6.pth", "IMAGENET1K_V2"),
    ],
)
def test_the_version_of_torchvisions_weights_is_kept(tmp_path, weights, ours):
    more = f"model['backbone'] = dict(type='ResNet', depth=50, pretrained='{weights}')\n"
    assert convert(tmp_path, {"leaf.py": LEAF_1X + more})[0].MODEL.BACKBONE_WEIGHTS == ours


def test_other_weights_of_the_same_network_are_reported_as_others(tmp_path, capsys):
    more = "model['backbone'] = dict(type='MobileNetV2', pretrained='mmcls://mobilenet_v2')\n"
    cfg, _ = convert(tmp_path, {"leaf.py": LEAF_1X + more})
    assert cfg.MODEL.BACKBONE_WEIGHTS == "IMAGENET1K_V1"
    assert "changed: weights 'mmcls://mobilenet_v2' are OpenMMLab's own" in capsys.readouterr().err


def test_a_warm_up_in_iterations_is_reported_and_not_taken_for_epochs(tmp_path, capsys):
    more = "param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=500)]\n"
    cfg, _ = convert(tmp_path, {"leaf.py": LEAF_1X + more})
    assert cfg.SOLVER.WARMUP_EPOCHS == 0.0
    assert "LinearLR (start_factor=0.1, by_epoch=False, begin=0, end=500)" in capsys.readouterr().err


def test_a_cosine_ends_at_the_same_rate(tmp_path, capsys):
    more = "param_scheduler = [dict(type='CosineAnnealingLR', T_max={}, eta_min=0.0001, by_epoch=True)]\n"
    cfg, _ = convert(tmp_path, {"leaf.py": LEAF_1X + more.format(100)})
    assert (cfg.SOLVER.LR_POLICY, cfg.SOLVER.COSINE_END_LR) == ("cosine", pytest.approx(0.01))
    assert "param_scheduler" not in capsys.readouterr().err
    convert(tmp_path, {"leaf.py": LEAF_1X + more.format(30)})
    assert "not carried over: param_scheduler[0].T_max = 30" in capsys.readouterr().err


def test_mixed_precision_accumulation_and_the_options_of_adamw_are_carried_over(tmp_path, capsys):
    more = (
        "optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16', accumulative_counts=4,\n"
        "    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.98), eps=1e-6),\n"
        "    paramwise_cfg=dict(norm_decay_mult=0.0))\n"
    )
    cfg, _ = convert(tmp_path, {"leaf.py": LEAF_1X + more})
    assert (cfg.TRAIN.MIXED_PRECISION, cfg.SOLVER.OPTIMIZING_METHOD) == ("bf16", "adamw")
    assert (cfg.SOLVER.BETAS, cfg.SOLVER.WEIGHT_DECAY) == ((0.9, 0.98), 0.01)
    # 8 GPUs with 32 clips each, 4 times.
    assert (cfg.TRAIN.BATCH_SIZE, cfg.TRAIN.MAX_CLIPS_PER_FORWARD) == (1024, 32)
    said = capsys.readouterr().err
    assert "not carried over: optim_wrapper.optimizer.eps = 1e-06" in said
    assert "not carried over: optim_wrapper.paramwise_cfg.norm_decay_mult = 0.0" in said
    assert "changed: gradients of 4 forward passes add up there" in said


def test_a_repeated_dataset_is_read_as_often_and_its_own_list_and_pipeline_are_found(tmp_path):
    more = (
        "train_dataloader['dataset'] = dict(type='RepeatDataset', times=3, dataset=dict(\n"
        "    type='VideoDataset', ann_file='inner.txt',\n"
        "    pipeline=[dict(type='CenterCrop', crop_size=(112, 112))]))\n"
    )
    cfg, text = convert(tmp_path, {"leaf.py": LEAF_1X.replace("train_pipeline", "tp") + more})
    assert (cfg.TRAIN.NUM_REPEATS, cfg.DATA.TRAIN_LIST) == (3, "inner.txt")
    assert (cfg.AUG.CROP, cfg.DATA.TRAIN_CROP_SIZE) == ("center", 112)


def test_a_pipeline_that_is_named_and_not_the_datasets_own_is_to_be_checked(tmp_path, capsys):
    more = "train_dataloader['dataset'] = dict(type='VideoDataset', pipeline=[dict(type='CenterCrop')])\n"
    cfg, _ = convert(tmp_path, {"leaf.py": LEAF_1X + more})
    assert cfg.AUG.CROP == "center"
    assert "the dataset's own was read; train_pipeline is another" in capsys.readouterr().err


def test_augmentation_of_another_strength_is_reported_as_changed(tmp_path, capsys):
    weaker = LEAF_1X.replace(
        "dict(type='RandomResizedCrop')",
        "dict(type='RandomResizedCrop', area_range=(0.5, 1.0)), dict(type='Flip', flip_ratio=0.2)",
    )
    cfg, _ = convert(tmp_path, {"leaf.py": weaker})
    assert cfg.DATA.RANDOM_FLIP
    said = capsys.readouterr().err
    assert "not carried over: training step RandomResizedCrop.area_range = [0.5, 1.0]" in said
    assert "changed: training step Flip.flip_ratio = 0.2; half of the clips are flipped" in said


def test_what_a_config_skips_is_mmaction2s_default(tmp_path):
    bare = (
        "model = dict(backbone=dict(type='ResNet', depth=50), cls_head=dict(type='TSNHead', num_classes=5))\n"
        "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))\n"
    )
    cfg, _ = convert(tmp_path, {"leaf.py": bare})
    assert (cfg.SOLVER.MOMENTUM, cfg.SOLVER.WEIGHT_DECAY) == (0.0, 0.0)
    assert (cfg.MODEL.DROPOUT_RATE, cfg.MODEL.FC_INIT_STD) == (0.4, 0.01)


def invent(value, path="", found=None):
    """Put a key that nobody knows into every dictionary; return the values they got."""
    found = [] if found is None else found
    if isinstance(value, dict):
        for name, each in list(value.items()):
            invent(each, f"{path}.{name}", found)
        value["invented"] = f"lost at {path or 'the top'}"
        found.append(value["invented"])
    elif isinstance(value, list):
        for index, each in enumerate(value):
            invent(each, f"{path}[{index}]", found)
    return found


def settings_of(folder, files):
    for name, text in files.items():
        (folder / name).write_text(text.replace("['model.py', 'schedule.py']", "['base.py']"))
    literals = read_literals(folder / "leaf.py")
    # Helpers are reported at their use.
    return {name: value for name, value in literals.settings.items() if name not in literals.helpers}


@pytest.mark.parametrize(
    "files", [{"base.py": BASE_0X + SCHEDULE_0X, "leaf.py": LEAF_0X}, {"leaf.py": LEAF_1X}]
)
def test_no_key_that_nobody_knows_is_lost_in_silence(tmp_path, files):
    settings = settings_of(tmp_path, files)
    settings.pop("default_hooks", None)  # It is named as a whole.
    invented = invent(settings)
    said = " ".join(convert_settings(settings).notes)
    assert len(invented) > 20 and [value for value in invented if value not in said] == []
    assert settings == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "leaf.py: cannot be read"),
        ("_base_ = 3", "leaf.py: _base_ must be a path or a list of paths, got 3"),
        ("_base_ = ['leaf.py']", r"leaf.py: its bases name each other in a circle (leaf.py -> leaf.py)"),
        ("model = 'x'", "leaf.py: model must be a dictionary, got 'x'"),
        ("train_pipeline = [3]", "leaf.py: train_pipeline must be a list of dictionaries, got [3]"),
        (
            "x = 1\nwrong = {[1]: 2}",
            "leaf.py:2: Python could not run this line (unhashable type: 'list')",
        ),
    ],
)
def test_a_config_that_cannot_be_converted_is_named_in_one_line(tmp_path, capsys, text, message):
    if text is not None:
        (tmp_path / "leaf.py").write_text(text)
    assert convert_config.main([str(tmp_path / "leaf.py")]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_recipe_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "leaf.py").write_text(LEAF_1X)
    out = tmp_path / "leaf.py" / "recipe.yaml"
    assert convert_config.main([str(tmp_path / "leaf.py"), "--out", str(out)]) == 2
    assert str(out.parent) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("train_pipeline = [dict(type=3, strength=2)]\n", "training step {'type': 3, 'strength': 2}"),
        (
            "param_scheduler = [dict(type='MultiStepLR', milestones=[1.5, 3])]\n",
            "not carried over: param_scheduler[0].milestones = [1.5, 3]",
        ),
        (
            "optim_wrapper = dict(type='AmpOptimWrapper', dtype=['x'])\n",
            "not carried over: optim_wrapper.dtype = ['x']",
        ),
    ],
)
def test_a_value_that_nobody_expects_is_reported(tmp_path, capsys, more, message):
    convert(tmp_path, {"leaf.py": LEAF_1X + more})
    assert message in capsys.readouterr().err


def test_milestones_are_counted_from_where_their_scheduler_begins(tmp_path):
    more = "param_scheduler = [dict(type='MultiStepLR', begin=5, milestones=[20, 30])]\n"
    assert convert(tmp_path, {"leaf.py": LEAF_1X + more})[0].SOLVER.STEPS == (0, 25, 35)


def test_hooks_seeds_and_switches_become_keys(tmp_path, capsys):
    more = (
        "default_hooks = dict(checkpoint=dict(interval=3, max_keep_ckpts=4, save_best='acc/mean1'),\n"
        "    logger=dict(interval=20))\n"
        "custom_hooks = [dict(type='EMAHook', momentum=0.001),\n"
        "    dict(type='EarlyStoppingHook', monitor='acc/top1', patience=7)]\n"
        "randomness = dict(seed=42, deterministic=True)\ncompile = dict(mode='max-autotune')\n"
        "model['backbone'].update(norm_cfg=dict(type='SyncBN', requires_grad=True), frozen_stages=2)\n"
    )
    cfg, _ = convert(tmp_path, {"leaf.py": LEAF_1X + more})
    assert (cfg.TRAIN.CHECKPOINT_PERIOD, cfg.TRAIN.KEEP_CHECKPOINTS, cfg.LOG_PERIOD) == (3, 4, 20)
    assert (cfg.EMA.ENABLE, cfg.EMA.DECAY) == (True, pytest.approx(0.999))
    assert (cfg.RNG_SEED, cfg.DETERMINISTIC, cfg.TRAIN.COMPILE) == (42, True, True)
    assert cfg.BN.NORM_TYPE == "sync_batchnorm"
    frozen = ["backbone.conv1", "backbone.bn1", "backbone.layer1", "backbone.layer2"]
    assert list(cfg.MODEL.FROZEN_MODULES) == frozen
    assert cfg.TRAIN.EARLY_STOP_PATIENCE == 7
    said = capsys.readouterr().err
    assert "chosen by acc/mean1 there" in said and "EarlyStopping" not in said
    assert "not carried over: compile = {'mode': 'max-autotune'}" in said


def test_a_cosine_that_follows_its_warm_up_starts_at_the_end_of_it(tmp_path, capsys):
    more = (
        "param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=10),\n"
        "    dict(type='CosineAnnealingLR', T_max=90, eta_min=0, by_epoch=True, begin=10, end=100)]\n"
    )
    cfg, _ = convert(tmp_path, {"leaf.py": LEAF_1X + more})
    assert (cfg.SOLVER.LR_POLICY, cfg.SOLVER.COSINE_AFTER_WARMUP, cfg.SOLVER.WARMUP_EPOCHS) == (
        "cosine",
        True,
        10.0,
    )
    assert "param_scheduler" not in capsys.readouterr().err


def test_a_poly_schedule_keeps_its_power(tmp_path, capsys):
    more = (
        "param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-4, by_epoch=True, begin=0, end=100)]\n"
    )
    cfg, _ = convert(tmp_path, {"leaf.py": LEAF_1X + more})
    assert (cfg.SOLVER.LR_POLICY, cfg.SOLVER.POLY_POWER) == ("poly", 0.9)
    assert cfg.SOLVER.COSINE_END_LR == pytest.approx(0.01)
    assert "param_scheduler" not in capsys.readouterr().err


def test_iterations_are_not_taken_for_epochs(tmp_path, capsys):
    more = "train_cfg = dict(type='IterBasedTrainLoop', max_iters=1000, val_interval=200)\n"
    cfg, _ = convert(tmp_path, {"leaf.py": LEAF_1X + more})
    assert cfg.SOLVER.MAX_EPOCH == 50 and cfg.TRAIN.EVAL_PERIOD == 5
    said = capsys.readouterr().err
    assert "max_iters = 1000 iterations" in said and "val_interval = 200 iterations" in said


def test_iterations_become_epochs_by_the_number_of_videos(tmp_path, capsys):
    more = (
        "train_cfg = dict(type='IterBasedTrainLoop', max_iters=1000, val_interval=200)\n"
        "param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50)]\n"
    )
    # 8 GPUs with 32 clips each: 25 iterations are an epoch of 6400 videos.
    cfg, _ = convert(tmp_path, {"leaf.py": LEAF_1X + more}, "--num-videos", "6400")
    assert (cfg.SOLVER.MAX_EPOCH, cfg.TRAIN.EVAL_PERIOD, cfg.SOLVER.WARMUP_EPOCHS) == (40, 8, 2.0)
    old = SCHEDULE_0X.replace("step=[20, 40]", "step=[20, 40], warmup='linear', warmup_iters=240")
    old = old.replace("total_epochs = 50", "runner = dict(type='IterBasedRunner', max_iters=1200)")
    cfg, _ = convert(
        tmp_path, {"leaf.py": BASE_0X + LEAF_0X.replace("_base_", "_x") + old}, "--num-videos", "576"
    )
    # 8 GPUs with 6 videos each: 12 iterations.
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.WARMUP_EPOCHS) == (100, 20.0)
    assert "iterations" not in capsys.readouterr().err.replace(str(tmp_path), "")


def _damaged(value, path=()):
    """Yield the path of every value, and a copy of the whole with a value there that nobody expects."""
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for name, inner in items:
        for bad in ("malformed", ["malformed"]):
            other = copy.deepcopy(value)
            other[name] = bad
            yield (*path, name), other
        for below, changed in _damaged(inner, (*path, name)):
            other = copy.deepcopy(value)
            other[name] = changed
            yield below, other


# Settings without effect on a recipe, whatever they are.
WITHOUT_EFFECT = {"keys", "meta_keys", "gpu_collect", "batch_size"}


@pytest.mark.parametrize(
    "files", [{"base.py": BASE_0X + SCHEDULE_0X, "leaf.py": LEAF_0X}, {"leaf.py": LEAF_1X + VALIDATION}]
)
def test_no_malformed_value_is_lost_in_silence(tmp_path, files):
    settings = settings_of(tmp_path, files)
    settings.pop("work_dir", None)
    silent, num = set(), 0
    for path, damaged in _damaged(settings):
        num += 1
        try:
            recipe = convert_settings(damaged)
        except ConfigError as error:
            said = str(error)
        else:
            said = f"{recipe.notes} {recipe.values}"
        if "malformed" not in said and not WITHOUT_EFFECT & set(path):
            silent.add(path)
    assert num > 200 and silent == set()


def test_a_validation_that_differs_from_the_test_is_reported(tmp_path, capsys):
    convert(tmp_path, {"leaf.py": LEAF_1X + VALIDATION})
    said = capsys.readouterr().err
    for difference in ("sampling dense (here uniform)", "short side 160 (here 256)", "crop 144 (here 224)"):
        assert difference in said


def test_without_a_test_pipeline_the_recipe_tests_as_validation_does(tmp_path, capsys):
    bare = LEAF_1X.replace("test_pipeline", "unused_pipeline")
    cfg, _ = convert(tmp_path, {"leaf.py": bare + VALIDATION})
    assert (cfg.DATA.TEST_SHORT_SIDE, cfg.DATA.TEST_CROP_SIZE, cfg.DATA.TEST_SAMPLER) == (160, 144, "dense")
    assert (cfg.TEST.NUM_FRAMES, cfg.TEST.NUM_ENSEMBLE_VIEWS) == (5, 4)
    assert "assumed: testing as in validation" in capsys.readouterr().err


def test_without_any_other_pipeline_the_recipe_tests_at_the_size_of_training(tmp_path):
    bare = LEAF_1X.replace("test_pipeline", "unused_pipeline").replace("scale=(224, 224)", "scale=(112, 112)")
    bare = bare.replace(
        "dict(type='RandomResizedCrop')",
        "dict(type='Resize', scale=(-1, 128)), dict(type='RandomResizedCrop')",
    )
    cfg, _ = convert(tmp_path, {"leaf.py": bare})
    assert (cfg.DATA.TEST_SHORT_SIDE, cfg.DATA.TEST_CROP_SIZE) == (128, 112)


LOCATED = """_base_ = ['base.py', 'other.py']
img = dict(mean=[1, 2, 3],
    adjust_magnitude=True)
model = dict(backbone=dict(type='ResNet', depth=50,
    plugins=3), cls_head=dict(type='TSNHead',
    topk=(1, 3)))
train_pipeline = [
    dict(type='Normalize', std=[1, 1, 1], **img),
    dict(type='Flip',
        flip_ratio=0.3),
    dict(type='Strange')]
model['cls_head'].update(
    tied=1)
model['neck'] = dict(type='TPN')
model['cls_head'].setdefault('late', 5)
copied = dict(model['neck'], depth=3)
merged = {'a': 1} | {
    'b': 2}
optimizer = dict(
    capturable=True)
"""
LOCATED_BASE = """optimizer = dict(type='SGD', lr=0.1,
    foreach=True)
lr_config = dict(policy='step', step=[3])
lr_config.update(dict(
    warmup='exp'))
evaluation = dict(save_best='mean_average')
unknown = 7
"""
LOCATED_OTHER = "optimizer = dict(\n    fused=True)\nanother = 8\n"


def test_every_setting_that_is_not_carried_over_is_named_with_its_file_and_line(tmp_path):
    files = {"leaf.py": LOCATED, "base.py": LOCATED_BASE, "other.py": LOCATED_OTHER}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    notes = [note.replace(f"{tmp_path}/", "") for note in convert_file(tmp_path / "leaf.py").notes]
    for expected in (
        "training step Normalize.adjust_magnitude = True (leaf.py:3)",
        "model.backbone.plugins = 3 (leaf.py:5)",
        "model.cls_head.topk = [1, 3] (leaf.py:6)",
        "Flip.flip_ratio = 0.3; half of the clips are flipped (leaf.py:10)",
        "training step {'type': 'Strange'} (leaf.py:11)",
        "model.cls_head.tied = 1 (leaf.py:13)",
        "model.neck.type = 'TPN' (leaf.py:14)",
        "model.cls_head.late = 5 (leaf.py:15)",
        "copied.type = 'TPN' (leaf.py:14)",
        "copied.depth = 3 (leaf.py:16)",
        "merged.a = 1 (leaf.py:17)",
        "merged.b = 2 (leaf.py:18)",
        "optimizer.foreach = True (base.py:2)",
        "optimizer.fused = True (other.py:2)",
        "optimizer.capturable = True (leaf.py:20)",
        "unknown = 7 (base.py:7)",
        "another = 8 (other.py:3)",
        "lr_config.warmup = 'exp' (base.py:5)",
        "by mean_average there; here by top-1 accuracy (base.py:6)",
    ):
        assert any(note.endswith(expected) for note in notes), (expected, notes)
    unlocated = [note for note in notes if note.startswith("not carried over") and not note.endswith(")")]
    assert unlocated == []


OMNISOURCE = """
omnisource = True
data = dict(videos_per_gpu=12, omni_videos_per_gpu=[12, 64, 12, 12], train_ratio=[2, 1, 1, 1], train=[
    dict(type='VideoDataset', ann_file='k400.txt', data_prefix='k400', pipeline=train_pipeline),
    dict(type='ImageDataset', ann_file='images.txt'),
    dict(type='VideoDataset', ann_file='web.txt', data_prefix='web', pipeline=list(train_pipeline),
        num_classes=400,
        power=0.5),
    dict(type='RawVideoDataset', ann_file='raw.json'),
    dict(type='RepeatDataset', times=2, dataset=dict(type='VideoDataset', ann_file='more.txt',
        data_prefix=dict(video='more'), pipeline=[dict(type='CenterCrop')]))])
"""


def test_several_training_lists_that_are_stored_alike_become_one_training(tmp_path, capsys):
    text = LEAF_1X[: LEAF_1X.index("train_dataloader")] + OMNISOURCE
    cfg, _ = convert(tmp_path, {"leaf.py": text})
    assert cfg.DATA.TRAIN_LIST == "k400.txt"
    assert cfg.DATA.FURTHER_TRAIN_LISTS == (("web.txt", "web"), ("more.txt", "more"))
    said = capsys.readouterr().err
    for expected in (
        "training dataset 1, ImageDataset of 'images.txt': make videos of one frame of its images",
        "training dataset 2.power = 0.5",
        "training dataset 3, RawVideoDataset of 'raw.json': write a line `FOLDER/CLIP label` for each",
        "training dataset 4.times = 2",
        "the pipeline of training dataset 4; here all lists have the first list's",
        "data.train_ratio = [2, 1, 1, 1]",
        "changed: each training list has its own batches and steps there",
    ):
        assert expected in said
    assert "num_classes" not in said and "omnisource = True" not in said


def test_drawing_by_class_is_carried_over(tmp_path, capsys):
    more = "train_dataloader['dataset'].update(sample_by_class=True, power=0.5)\n"
    cfg, _ = convert(tmp_path, {"leaf.py": LEAF_1X + more})
    assert (cfg.TRAIN.CLASS_BALANCED, cfg.TRAIN.CLASS_POWER) == (True, 0.5)
    said = capsys.readouterr().err
    assert "sample_by_class" not in said and "power" not in said


def test_caffes_means_and_deviation_of_one_are_kept(tmp_path):
    caffe = LEAF_1X.replace("[123.675, 116.28, 103.53]", "[104, 117, 128]").replace(
        "[58.395, 57.12, 57.375]", "[1, 1, 1]"
    )
    cfg, _ = convert(tmp_path, {"leaf.py": caffe})
    assert (cfg.DATA.MEAN, cfg.DATA.STD) == ((104.0, 117.0, 128.0), (1.0, 1.0, 1.0))


def test_any_backbone_of_timm_and_torchvision_is_named(tmp_path):
    for kind, name in (
        ("dict(type='timm.convnext_tiny')", "timm/convnext_tiny"),
        ("dict(type='torchvision.efficientnet_b0')", "torchvision/efficientnet_b0"),
        ("dict(type='mmpretrain.TIMMBackbone', model_name='regnety_032')", "timm/regnety_032"),
        ("dict(type='mmcls.ResNeXt', depth=101, groups=32, width_per_group=4)", "resnext101_32x4d"),
    ):
        cfg, _ = convert(tmp_path, {"leaf.py": LEAF_1X + f"model['backbone'] = {kind}\n"})
        assert cfg.MODEL.BACKBONE == name


def test_a_number_of_classes_that_is_not_read_is_not_the_bases(tmp_path, capsys):
    leaf = (
        "_base_ = 'base.py'\nmodel = dict(cls_head=dict(num_classes=count('classes.txt')),\n"
        "    backbone=dict(depth=101))\n"
    )
    cfg, _ = convert(
        tmp_path, {"base.py": LEAF_1X.replace("num_classes=400", "num_classes=51"), "leaf.py": leaf}
    )
    assert (cfg.MODEL.BACKBONE, cfg.MODEL.NUM_CLASSES) == ("resnet101", 400)
    said = capsys.readouterr().err
    assert "leaf.py:2: model.cls_head.num_classes: count('classes.txt') would have to be run" in said
    assert "check MODEL.NUM_CLASSES" in said
