"""The order in memory that training computes in."""

import pytest
import torch
from support.runs import tiny_cfg, write_dataset
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.layers import TemporalShift


@pytest.mark.parametrize("precision", ["off", "bf16"])
def test_features_are_channels_last_throughout_the_backbone_in_training(tmp_path, precision, device):
    seen = []

    def see(module, args, out):
        # The estimate of memory runs on tensors without contents.
        is_real = isinstance(out, torch.Tensor) and not out.is_meta
        is_of_network = module.training and is_real and out.is_floating_point()
        assert not is_of_network or out.device.type == device.type
        # With one pixel, both orders are the same.
        if is_of_network and out.ndim == 4 and out[0, 0].numel() > 1:
            seen.append((type(module), out.is_contiguous(memory_format=torch.channels_last)))

    data = write_dataset(tmp_path / "data", num_train=4, num_val=1)
    cfg = tiny_cfg(
        tmp_path,
        data=data,
        MODEL__BACKBONE="resnet18",
        TRAIN__MIXED_PRECISION=precision,
        SOLVER__MAX_EPOCH=1,
    )
    hook = register_module_forward_hook(see)
    try:
        engine.train(cfg)
    finally:
        hook.remove()

    assert {nn.Conv2d, nn.ReLU, TemporalShift} <= {kind for kind, _ in seen}
    assert [kind for kind, is_channels_last in seen if not is_channels_last] == []
