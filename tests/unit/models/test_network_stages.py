"""The stages of networks, and what is frozen and how fast the rest learns by them."""

import pytest
import torch
from torch import nn

from tsn_tsm_plugin import create_tsm, create_tsn
from tsn_tsm_plugin.engine.freezing import FrozenModules
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.layers.network_stages import network_stages
from tsn_tsm_plugin.models.backbones.create import create_backbone
from tsn_tsm_plugin.solver import tsm_param_groups, tsn_param_groups
from tsn_tsm_plugin.solver.param_groups import with_layer_decay


def stages_of(name: str) -> list[list[str]]:
    with torch.device("meta"):
        return network_stages(create_backbone(name))


def test_a_resnet_has_a_stem_and_four_stages():
    assert stages_of("resnet18") == [["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]]


def test_blocks_of_one_resolution_are_one_stage():
    stages = stages_of("mobilenet_v2")
    assert stages[:3] == [["features.0"], ["features.1"], ["features.2", "features.3"]]
    assert [len(names) for names in stages] == [1, 1, 2, 3, 7, 5]


@pytest.mark.parametrize("name", ["timm/vit_tiny_patch16_224", "torchvision/vit_b_16"])
def test_each_block_of_a_vision_transformer_is_a_stage(name):
    assert len(stages_of(name)) == 1 + 12


@pytest.mark.parametrize("name", ["densenet161", "mobileone_s4", "swin_base_patch4_window7_224"])
def test_every_module_with_parameters_is_in_one_stage(name):
    with torch.device("meta"):
        backbone = create_backbone(name)
    prefixes = [f"{module}." for names in network_stages(backbone) for module in names]
    for parameter, _ in backbone.named_parameters():
        assert sum(parameter.startswith(prefix) for prefix in prefixes) == 1


def learning(model: nn.Module) -> set[str]:
    return {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}


def test_frozen_stages_are_the_stem_and_the_first_stages():
    model = create_tsm(backbone="resnet18", num_classes=3, num_segments=2)
    frozen = FrozenModules(model, frozen_stages=2)
    frozen.set_train_mode()

    assert learning(model.backbone) == {"layer3", "layer4"}
    assert not model.backbone.layer2[0].bn1.training and model.backbone.layer3[0].bn1.training


def test_a_class_token_freezes_with_the_stem():
    model = create_tsn(backbone="timm/vit_tiny_patch16_224", num_classes=3, num_segments=1)
    FrozenModules(model, frozen_stages=0)

    assert not model.backbone.trunk.cls_token.requires_grad
    assert model.backbone.trunk.blocks[0].attn.qkv.weight.requires_grad


def test_more_stages_than_there_are_are_refused():
    model = create_tsn(backbone="resnet18", num_classes=3, num_segments=1)
    with pytest.raises(ConfigError, match="MODEL.FROZEN_STAGES must be at most 4.* got 5"):
        FrozenModules(model, frozen_stages=5)


@pytest.mark.parametrize("grouping", [tsn_param_groups, tsm_param_groups])
def test_learning_rates_fall_from_the_head_to_the_stem(grouping):
    model = create_tsm(backbone="resnet18", num_classes=3, num_segments=2)
    groups = grouping(model, weight_decay=0.1)
    divided = with_layer_decay(groups, model, decay=0.5)

    factor = {id(p): g["lr_mult"] for g in groups for p in g["params"]}
    ratio = {id(p): g["lr_mult"] / factor[id(p)] for g in divided for p in g["params"]}
    assert ratio.keys() == factor.keys()
    found = {name: ratio[id(p)] for name, p in model.named_parameters()}
    assert found["backbone.conv1.weight"] == 0.5**5
    assert {v for name, v in found.items() if ".layer4." in name} == {0.5}
    assert {v for name, v in found.items() if not name.startswith("backbone.")} == {1.0}
