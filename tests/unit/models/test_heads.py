import re

import pytest
import torch
from pytorchvideo.models.resnet import create_resnet
from torch import nn

from tsn_tsm_plugin.errors import UnknownComponentError
from tsn_tsm_plugin.models import TSMHead, TSNHead, create_tsm_head, create_tsn, create_tsn_head

HEADS = [TSNHead, TSMHead]


@pytest.mark.parametrize("head_class", HEADS)
def test_the_classifier_starts_small_and_without_bias(head_class):
    torch.manual_seed(0)
    head = head_class(in_features=512, num_classes=400, fc_init_std=0.003)

    assert head.fc.weight.std().item() == pytest.approx(0.003, rel=0.02)
    assert not head.fc.bias.any()


@pytest.mark.parametrize("head_class", HEADS)
@pytest.mark.parametrize("shape", [(2, 16, 1, 1, 1), (2, 16, 5, 7, 7), (1, 16, 8, 3, 9)])
def test_any_number_of_frames_and_any_size_fit(head_class, shape):
    scores = head_class(in_features=16, num_classes=10)(torch.randn(shape))

    assert scores.shape == (shape[0], 10)


def test_without_dropout_both_heads_agree():
    features = torch.randn(2, 16, 8, 4, 4)
    tsn = TSNHead(in_features=16, num_classes=5, dropout_rate=0.0)
    tsm = TSMHead(in_features=16, num_classes=5, dropout_rate=0.0)
    tsm.load_state_dict(tsn.state_dict())

    torch.testing.assert_close(tsm(features), tsn(features))


def test_tsn_drops_a_feature_for_all_frames_and_tsm_for_each_frame_apart():
    torch.manual_seed(0)
    features = torch.ones(1, 64, 8, 1, 1)
    seen = {}
    for head_class in HEADS:
        head = head_class(in_features=64, num_classes=1, dropout_rate=0.5)
        head.fc.register_forward_hook(lambda _, inputs, __, key=head_class: seen.update({key: inputs[0]}))
        head(features)

    assert seen[TSNHead].shape == (1, 64)
    assert seen[TSMHead].shape == (1, 8, 64)
    assert len(seen[TSMHead][0].unique(dim=0)) == 8


def test_the_scores_of_tsn_over_all_frames_are_the_mean_of_its_views():
    head = TSNHead(in_features=16, num_classes=5).eval()
    first, second = torch.randn(2, 1, 16, 3, 2, 2).unbind()

    together = head(torch.cat([first, second], dim=2))

    torch.testing.assert_close(together, (head(first) + head(second)) / 2)


@pytest.mark.parametrize("create_head", [create_tsn_head, create_tsm_head])
def test_the_builder_fills_the_head_slot_of_create_resnet(create_head):
    network = create_resnet(model_depth=50, model_num_class=7, head=create_head, head_activation=nn.Softmax)

    probabilities = network.eval()(torch.randn(1, 3, 2, 32, 32))

    assert probabilities.shape == (1, 7)
    assert probabilities.sum().item() == pytest.approx(1.0)


def test_a_slot_that_wants_a_map_of_scores_is_refused():
    with pytest.raises(ValueError, match=re.escape("output_size must be (1, 1, 1)")):
        create_tsn_head(in_features=8, out_features=4, output_with_global_average=False)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_dropout_rate_that_drops_everything_is_refused(rate):
    with pytest.raises(ValueError, match=re.escape(f"dropout_rate must be in [0, 1), got {rate}")):
        TSNHead(in_features=8, num_classes=4, dropout_rate=rate)


def test_a_head_is_chosen_by_name_and_named_in_the_description():
    model = create_tsn(backbone="resnet18", num_classes=5, dropout_rate=0.25, head="tsm")

    assert isinstance(model.head, TSMHead)
    assert model.head.dropout.p == 0.25
    assert "num_classes=5, head=TSMHead" in model.describe()
    assert "head=" not in create_tsn(backbone="resnet18", num_classes=5).describe()


def test_an_unknown_head_is_answered_with_the_nearest():
    with pytest.raises(UnknownComponentError, match="head 'tsnn' is not registered; nearest: tsn"):
        create_tsn(backbone="resnet18", head="tsnn")
