"""Components that a recipe names, with their keyword arguments."""

import ast
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import tsn_tsm_plugin
from tsn_tsm_plugin import build_model, load_cfg, registry
from tsn_tsm_plugin.errors import ConfigError, UnknownComponentError
from tsn_tsm_plugin.registry import BATCH_TRANSFORMS, HEADS, LOSSES, REGISTRIES, SAMPLERS, TRANSFORMS
from tsn_tsm_plugin.solver import build_loss, build_lr_schedule, build_optimizer
from tsn_tsm_plugin.tools.list_components import what_reaches
from tsn_tsm_plugin.transforms.build import (
    build_batch_transform,
    build_clip_transform,
    build_index_sampler,
)


def cfg_of(text: str, *opts: str):
    return load_cfg("recipe.yaml", opts, text=text)


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_kind_of_component_has_a_key_that_names_it_and_code_that_asks_for_it(kind):
    if kind == "bottleneck":
        return  # PyTorchVideo's create_resnet(bottleneck=NAME) reaches it.
    assert what_reaches(kind)
    name = next(name for name in registry.__all__ if getattr(registry, name) is REGISTRIES[kind])
    readers = [
        path
        for path in Path(tsn_tsm_plugin.__file__).parent.rglob("*.py")
        if any(
            isinstance(node, ast.Attribute)
            and node.attr in ("get", "create")
            and ast.unparse(node.value) == name
            for node in ast.walk(ast.parse(path.read_text()))
        )
    ]
    assert readers


def test_steps_are_added_to_the_preset_in_order():
    cfg = cfg_of(
        "DATA:\n  TRAIN_TRANSFORMS:\n  - {name: color_jitter, options: {brightness: 0.5}}\n  - preset\n"
        "  - NAME: random_erasing\n    OPTIONS: {p: 1.0}\n"
    )
    steps = [type(step).__name__ for step in build_clip_transform(cfg, "train").steps]
    assert steps == [
        "ColorJitter",
        "ShortSideScale",
        "MultiScaleCrop",
        "RandomHorizontalFlip",
        "RandomErasing",
    ]
    assert [type(step).__name__ for step in build_clip_transform(cfg, "val").steps] == [
        "ShortSideScale",
        "CenterCrop",
    ]


def test_a_list_without_the_preset_replaces_it_in_testing_and_validation():
    cfg = cfg_of("DATA: {TEST_TRANSFORMS: [{name: center_crop, options: {size: 12}}]}")
    for split in ("val", "test"):
        clip = build_clip_transform(cfg, split)({"video": torch.zeros(3, 2, 20, 30, dtype=torch.uint8)})
        assert clip["video"].shape == (3, 2, 12, 12)


def test_an_item_that_is_no_step_and_a_name_that_is_none_are_refused_together():
    with pytest.raises(ConfigError) as error:
        cfg_of("DATA: {TRAIN_TRANSFORMS: [preset, {names: x}, 7], TEST_TRANSFORMS: [center_crob]}")
    assert "3 faults" in str(error.value)
    assert "must hold names, or mappings such as {name: NAME, options: {size: 8}}, got {'names': 'x'}" in str(
        error.value
    )
    assert "names, nearest 'center_crop', 'ten_crop', got 'center_crob'" in str(error.value)


def test_a_replaced_list_takes_plain_names_from_the_command_line():
    cfg = cfg_of("", "DATA.TRAIN_TRANSFORMS=[preset, {name: rand_augment, options: {config: rand-m3}}]")
    assert "RandAugment" in repr(build_clip_transform(cfg, "train"))


def test_options_of_a_base_are_replaced_as_a_whole_and_one_can_be_overridden(tmp_path):
    (tmp_path / "base.yaml").write_text("SOLVER: {OPTIMIZER_OPTIONS: {momentum: 0.5, dampening: 0.1}}")
    leaf = tmp_path / "leaf.yaml"
    leaf.write_text("_BASE_: base.yaml\nSOLVER: {OPTIMIZER_OPTIONS: {momentum: 0.7}}")
    assert load_cfg(leaf).SOLVER.OPTIMIZER_OPTIONS == {"momentum": 0.7}
    leaf.write_text("_BASE_: base.yaml")
    overridden = load_cfg(leaf, ["SOLVER.OPTIMIZER_OPTIONS.momentum=0.6"])
    assert overridden.SOLVER.OPTIMIZER_OPTIONS == {"momentum": 0.6, "dampening": 0.1}
    assert load_cfg(leaf, ["SOLVER.OPTIMIZER_OPTIONS={}"]).SOLVER.OPTIMIZER_OPTIONS == {}
    assert load_cfg("again.yaml", text=overridden.dump()).SOLVER == overridden.SOLVER
    with pytest.raises(AttributeError):
        overridden.SOLVER.OPTIMIZER_OPTIONS.momentum = 1.0


@pytest.mark.parametrize(
    "value, problem",
    [
        ("7", "must hold keyword arguments, as {name: value}, got 7"),
        ("{1: 2}", "must have words for names, got 1"),
    ],
)
def test_options_that_are_no_keyword_arguments_are_refused(value, problem):
    with pytest.raises(ConfigError, match=re.escape(f"MODEL.LOSS_OPTIONS {problem}")):
        cfg_of(f"MODEL: {{LOSS_OPTIONS: {value}}}")


@pytest.fixture
def registered():
    taken = []

    def register(registry, component):
        registry.register("mine")(component)
        taken.append(registry)

    yield register
    for one in taken:
        one.unregister("mine")


def test_a_sampler_of_testing_has_options_of_its_own(registered):
    registered(SAMPLERS, lambda num_segments, *, mode, num_views=1, start=0: (mode, start))
    cfg = cfg_of("DATA: {SAMPLER: mine, SAMPLER_OPTIONS: {start: 2}}")
    assert [build_index_sampler(cfg, split) for split in ("train", "test")] == [("train", 2), ("test", 2)]
    cfg = cfg_of("DATA: {TEST_SAMPLER: mine, TEST_SAMPLER_OPTIONS: {start: 3}}")
    assert build_index_sampler(cfg, "test") == ("test", 3)
    with pytest.raises(ConfigError, match="TEST_SAMPLER_OPTIONS must be empty without DATA.TEST_SAMPLER"):
        cfg_of("DATA: {TEST_SAMPLER_OPTIONS: {start: 3}}")


def test_mixup_cutmix_and_others_are_named(registered):
    mixup = build_batch_transform(cfg_of("MIXUP: {ENABLE: true, METHOD: mixup, ALPHA: 0.3}"))
    cutmix = build_batch_transform(cfg_of("MIXUP: {ENABLE: true, METHOD: cutmix, OPTIONS: {alpha: 0.4}}"))
    assert (type(mixup).__name__, mixup.alpha) == ("MixUp", 0.3)
    assert (type(cutmix).__name__, cutmix.alpha) == ("CutMix", 0.4)
    registered(BATCH_TRANSFORMS, lambda *, num_classes, share=0.5: (num_classes, share))
    assert build_batch_transform(cfg_of("MIXUP: {ENABLE: true, METHOD: mine, OPTIONS: {share: 1.0}}")) == (
        400,
        1.0,
    )
    with pytest.raises(ConfigError, match="MIXUP.PROB must be 1 with MIXUP.METHOD mixup .*, got 0.5"):
        cfg_of("MIXUP: {ENABLE: true, METHOD: mixup, PROB: 0.5}")


def test_an_optimizer_of_timm_is_named_with_its_options():
    cfg = cfg_of(
        "SOLVER: {OPTIMIZING_METHOD: timm/lamb, OPTIMIZER_OPTIONS: {max_grad_norm: 2.0}, PARAM_GROUPS: tsn}"
    )
    optimizer = build_optimizer(cfg, nn.Linear(2, 2))
    assert type(optimizer).__name__ == "Lamb"
    assert optimizer.defaults["max_grad_norm"] == 2.0
    with pytest.raises(UnknownComponentError, match="has no optimizer 'lamp'; it has: .*lamb"):
        build_optimizer(cfg_of("SOLVER: {OPTIMIZING_METHOD: timm/lamp, PARAM_GROUPS: tsn}"), nn.Linear(2, 2))


def test_a_policy_and_a_loss_are_named_with_their_options(registered):
    cfg = cfg_of("SOLVER: {LR_POLICY: cosine, LR_POLICY_OPTIONS: {end_factor: 0.5}, BASE_LR: 1.0}")
    assert build_lr_schedule(cfg, steps_per_epoch=1).lr_at(49) == pytest.approx(0.5, abs=1e-3)
    registered(LOSSES, lambda *, num_classes, power: (num_classes, power))
    assert build_loss(cfg_of("MODEL: {LOSS_FUNC: mine, LOSS_OPTIONS: {power: 2}}")) == (400, 2)
    with pytest.raises(ConfigError, match="SOLVER.LABEL_SMOOTHING must be 0 with MODEL.LOSS_FUNC mine"):
        cfg_of("SOLVER: {LABEL_SMOOTHING: 0.1}", "MODEL.LOSS_FUNC=mine")


def test_a_head_takes_its_options(registered):
    class Head(nn.Module):
        def __init__(self, *, width, in_features, out_features, **slot):
            super().__init__()
            self.fc = nn.Linear(in_features, out_features)
            self.width = width

    registered(HEADS, Head)
    text = "MODEL: {BACKBONE: resnet18, HEAD: mine, HEAD_OPTIONS: {width: 3}}"
    assert build_model(cfg_of(text)).head.width == 3
    with pytest.raises(ConfigError, match="MODEL.HEAD_OPTIONS must be empty without MODEL.HEAD"):
        cfg_of("MODEL: {HEAD_OPTIONS: {width: 3}}")


@pytest.mark.parametrize(
    "options, problem",
    [
        (
            "{sizes: 3}",
            r"DATA.TEST_TRANSFORMS of transform 'mine' takes \(\*, size\), got options that do not fit",
        ),
        ("{}", r"DATA.TEST_TRANSFORMS of transform 'mine' takes \(\*, size\), got .*: missing .* 'size'"),
        ("{size: 0}", "DATA.TEST_TRANSFORMS of transform 'mine': size must be positive"),
    ],
)
def test_options_that_a_component_does_not_take_are_named_with_the_key(registered, options, problem):
    def step(*, size):
        raise ValueError("size must be positive")

    registered(TRANSFORMS, step)
    cfg = cfg_of(f"DATA: {{TEST_TRANSFORMS: [{{name: mine, options: {options}}}]}}")
    with pytest.raises(ConfigError, match=problem):
        build_clip_transform(cfg, "test")


def test_an_option_that_the_run_sets_itself_is_refused():
    cfg = cfg_of("SOLVER: {LR_POLICY_OPTIONS: {num_epochs: 3}}")
    with pytest.raises(ConfigError, match="SOLVER.LR_POLICY_OPTIONS must leave num_epochs to the run"):
        build_lr_schedule(cfg, steps_per_epoch=1)


def test_a_misspelt_name_is_refused_before_anything_is_built():
    names = {
        "MODEL": ("BACKBONE", "HEAD", "LOSS_FUNC"),
        "SOLVER": ("OPTIMIZING_METHOD", "LR_POLICY"),
        "DATA": ("FORMAT", "SAMPLER", "TEST_SAMPLER", "DECODING_BACKEND"),
        "MIXUP": ("METHOD",),
    }
    opts = [f"{node}.{name}=nonesuch" for node, keys in names.items() for name in keys]
    with pytest.raises(ConfigError) as error:
        cfg_of("", *opts)
    assert str(error.value).count("must be one of") == len(opts)


@pytest.mark.parametrize(
    "opt, problem",
    [
        ("MODEL.FROZEN_MODULES=[3]", "MODEL.FROZEN_MODULES must be a list of names, got [3]"),
        ("NONLOCAL.LOCATION=[{name: a}]", "NONLOCAL.LOCATION must be a list of names"),
        ("AUG.CROP_SCALES=[{name: a}]", "AUG.CROP_SCALES must be a number, got {'name': 'a'}"),
        ("MODEL.HEAD_OPTIONS.a={1: 2}", "MODEL.HEAD_OPTIONS.a must have words for names, got 1"),
        ("DATA.TRAIN_TRANSFORMS=[7]", "DATA.TRAIN_TRANSFORMS must be text, got 7"),
    ],
)
def test_items_of_another_type_are_refused(opt, problem):
    with pytest.raises(ConfigError, match=re.escape(problem)):
        cfg_of("", opt)
