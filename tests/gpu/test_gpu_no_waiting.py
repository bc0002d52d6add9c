"""On a GPU the loop runs ahead: PyTorch itself reports every place where the CPU would wait."""

import pytest
import torch
from support.runs import tiny_cfg, write_dataset

from tsn_tsm_plugin import engine


class NoWaiting(engine.Hook):
    """Lets every synchronisation raise, from the second step to the twentieth; the log comes after them."""

    def before_step(self, trainer, batch):
        if trainer.step == 1:
            torch.cuda.set_sync_debug_mode("error")

    def after_step(self, trainer, batch, result):
        if trainer.step == 20:
            torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"), num_train=8, num_val=3)


@pytest.fixture(autouse=True)
def _synchronisation_as_before():
    yield
    if torch.cuda.is_available():
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cuda"], indirect=True)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"EMA__ENABLE": True, "TRAIN__MIXED_PRECISION": "bf16"},
        {"TRAIN__MIXED_PRECISION": "fp16", "SOLVER__CLIP_GRAD_L2NORM": 1.0},
        {"SOLVER__OPTIMIZING_METHOD": "adamw"},
    ],
    ids=["SGD", "bf16 and moving average", "fp16 and clipping", "AdamW"],
)
def test_twenty_steps_never_wait_for_the_gpu(tmp_path, data, device, options):
    cfg = tiny_cfg(
        tmp_path,
        data=data,
        LOG_PERIOD=100,
        SOLVER__MAX_EPOCH=1,
        TRAIN__EVAL_PERIOD=0,
        TRAIN__NUM_REPEATS=12,
        DATA_LOADER__NUM_WORKERS=1,
        **options,
    )
    engine.train(cfg, hooks=[NoWaiting()])
