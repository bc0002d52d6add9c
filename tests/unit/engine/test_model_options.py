"""Options of the papers that change how a network trains, each against what it must equal."""

import copy
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tsn_tsm_plugin.engine.ddp import synchronize_batch_norm
from tsn_tsm_plugin.engine.ema import MovingAverage
from tsn_tsm_plugin.engine.freezing import FrozenModules
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.layers import NON_LOCAL_KINDS, NonLocal
from tsn_tsm_plugin.layers.activation_checkpoint import checkpoint_activations
from tsn_tsm_plugin.models import create_tsm, create_tsn
from tsn_tsm_plugin.models.deploy.compile import Compiled

TAKEN, SKIPPED = torch.tensor(True), torch.tensor(False)
EVERY_NON_LOCAL = [("non_local", kind, 2) for kind in NON_LOCAL_KINDS]


def small_tsm(**options):
    torch.manual_seed(0)
    return create_tsm(backbone="resnet18", num_classes=3, num_segments=2, dropout_rate=0.0, **options)


@pytest.fixture
def model():
    return small_tsm()


def clips(num_clips: int = 2) -> torch.Tensor:
    return torch.randn(num_clips, 3, 2, 32, 32, generator=torch.Generator().manual_seed(0))


def test_frozen_modules_get_no_gradient_and_keep_their_statistics(model):
    mode = FrozenModules(model, frozen_modules=("backbone.conv1", "backbone.bn1", "backbone.layer1"))
    before = copy.deepcopy(model.state_dict())
    mode.set_train_mode()
    model(clips()).sum().backward()

    assert all(p.grad is None for p in model.backbone.layer1.parameters())
    assert model.backbone.layer2[0].conv2.weight.grad is not None
    after = model.state_dict()
    assert torch.equal(after["backbone.bn1.running_mean"], before["backbone.bn1.running_mean"])
    assert not torch.equal(
        after["backbone.layer2.0.bn1.running_mean"], before["backbone.layer2.0.bn1.running_mean"]
    )


def test_partial_batch_norm_trains_the_first_only(model):
    FrozenModules(model, partial_bn=True).set_train_mode()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]

    assert norms[0].training and norms[0].weight.requires_grad
    assert not any(m.training or m.weight.requires_grad or m.bias.requires_grad for m in norms[1:])
    assert model.backbone.conv1.weight.requires_grad


@pytest.mark.parametrize("is_synchronized", [False, True])
def test_frozen_statistics_normalise_in_training_as_in_testing_and_train_the_weights(is_synchronized):
    model = small_tsm(non_local="embedded_gaussian")
    mode = FrozenModules(model, freeze_stats=True)
    if is_synchronized:
        synchronize_batch_norm(model)
    model.eval()
    before = copy.deepcopy(model.state_dict())
    expected = model(clips())
    mode.set_train_mode()
    scores = model(clips())
    scores.sum().backward()

    assert torch.equal(scores, expected) and model.backbone.layer1.training
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if "running" in name)
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert norms and all(norm.weight.grad is not None for norm in norms)


def test_a_module_that_does_not_exist_is_refused_with_the_nearest(model):
    with pytest.raises(
        ConfigError, match=r"FROZEN_MODULES must name modules .* got 'backbone\.layer9'.*backbone\.layer"
    ):
        FrozenModules(model, frozen_modules=("backbone.layer9",))


@pytest.mark.parametrize(("which", "non_local", "num_blocks"), [("all", None, 8), *EVERY_NON_LOCAL])
def test_activation_checkpointing_changes_neither_gradients_nor_statistics(which, non_local, num_blocks):
    plain = small_tsm(non_local=non_local).train()
    for module in plain.modules():
        if isinstance(module, NonLocal):
            nn.init.ones_(module.norm.weight)  # no longer the identity
    saving = copy.deepcopy(plain)
    assert checkpoint_activations(saving.backbone, which=which) == num_blocks
    for network in (plain, saving):
        network(clips()).square().sum().backward()

    for mine, theirs in zip(saving.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(saving.state_dict()[name], tensor), name


def test_only_blocks_before_a_non_local_block_forget_their_activations():
    model = small_tsm(non_local=("dot_product", ["layer1.0", "layer3.1"])).train()
    checkpoint_activations(model.backbone, which="non_local")
    calls = Counter()
    for name, module in model.backbone.named_modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            module.register_forward_hook(lambda *args, name=name: calls.update([name]))
    model(clips()).sum().backward()

    assert len(calls) > 20
    for name, count in calls.items():
        assert count == (2 if name.startswith(("layer1.0.", "layer3.1.")) else 1), name


def test_a_network_without_non_local_blocks_has_none_to_checkpoint(model):
    assert checkpoint_activations(model.backbone, which="non_local") == 0


def kept_bytes(network):
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.nbytes) or t, lambda t: t):
        network(clips())
    return sum(sizes)


def test_activation_checkpointing_keeps_fewer_activations(model):
    plain = kept_bytes(model.train())
    checkpoint_activations(model.backbone)

    assert kept_bytes(model) < plain / 2


def test_the_moving_average_follows_by_its_formula():
    network = nn.Linear(1, 1)
    nn.init.zeros_(network.weight)
    averaged = MovingAverage(network, decay=0.9)
    averaged.update(network, is_applied=TAKEN)  # the first call copies
    nn.init.ones_(network.weight)
    averaged.update(network, is_applied=TAKEN)

    assert averaged.module.weight.item() == pytest.approx(0.1)
    assert not averaged.module.weight.requires_grad


def test_the_moving_average_does_not_follow_a_step_that_was_skipped():
    network = nn.Linear(1, 1)
    averaged = MovingAverage(network, decay=0.9)
    before = averaged.module.weight.clone()
    nn.init.ones_(network.weight)
    averaged.update(network, is_applied=SKIPPED)
    assert torch.equal(averaged.module.weight, before)

    averaged.update(network, is_applied=TAKEN)  # the first that counts copies
    assert torch.equal(averaged.module.weight, network.weight)


def test_running_statistics_are_averaged_too():
    norm = nn.BatchNorm2d(1)
    averaged = MovingAverage(norm, decay=0.9)
    averaged.update(norm, is_applied=TAKEN)
    norm.running_mean.fill_(1.0)
    averaged.update(norm, is_applied=TAKEN)

    assert averaged.module.running_mean.item() == pytest.approx(0.1)


@pytest.mark.parametrize("backbone", ["timm/efficientnet_b0", "timm/mobilenetv3_small_050", "resnet18"])
def test_a_synchronized_network_is_the_same_in_one_process(backbone):
    torch.manual_seed(0)
    model = create_tsn(backbone=backbone, num_classes=3, num_segments=1, dropout_rate=0.0)
    synchronized = copy.deepcopy(model)
    synchronize_batch_norm(synchronized)
    video = torch.randn(2, 3, 1, 64, 64)

    norms = [m for m in synchronized.modules() if isinstance(m, _BatchNorm)]
    assert norms and all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert synchronized.state_dict().keys() == model.state_dict().keys()
    for is_training in (True, False):
        scores, expected = synchronized.train(is_training)(video), model.train(is_training)(video)
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-6)


def test_every_norm_of_a_network_is_synchronized_but_those_that_are_frozen():
    model = small_tsm(non_local="embedded_gaussian")
    mode = FrozenModules(model, frozen_modules=("backbone.layer1",), partial_bn=True)
    # The first batch norm, and the two non-local blocks' 3D ones.
    learning = {"backbone.bn1", *(n for n, m in model.named_modules() if isinstance(m, nn.BatchNorm3d))}
    synchronize_batch_norm(model, frozen=mode.frozen)
    after = dict(model.named_modules())
    mode.set_train_mode()

    assert len(learning) == 3
    assert {name for name, m in after.items() if isinstance(m, nn.SyncBatchNorm)} == learning
    assert {name for name, m in after.items() if isinstance(m, _BatchNorm) and m.training} == learning


def test_a_compiler_that_fails_is_skipped_with_a_warning(model, monkeypatch, caplog):
    def broken(network, **how):
        def call(video):
            raise RuntimeError("no compiler\nhere")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    compiled = Compiled(model.eval(), num_clips=2)
    with caplog.at_level("WARNING", logger="tsn_tsm_plugin"):
        first = compiled(clips())

    assert torch.equal(first, model(clips()))
    assert torch.equal(compiled(clips()), first)


def test_the_fall_back_names_the_reason(model, monkeypatch):
    said = []
    monkeypatch.setattr("tsn_tsm_plugin.models.deploy.compile.logger.warning", said.append)
    monkeypatch.setattr(torch, "compile", lambda network, **how: (_ for _ in ()).throw(OSError("no g++")))
    Compiled(model, num_clips=2)

    assert "torch.compile does not work here (OSError: no g++)" in said[0]
